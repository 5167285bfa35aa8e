//! Reloading: a new text comes into force on every shard, or nothing changes and it is said why.
//!
//! ```text
//!   read ─▶ same digest? ─yes─▶ Unchanged
//!            │ no
//!            ▼
//!   compile ─▶ needs a restart? ─▶ bind ─▶ publish ─▶ adopted by all ─▶ Adopted
//!       ╲          ╲                 ╲                    ╲
//!        ──────────────────▶ Rejected, the old one stays    ──▶ in force, not confirmed
//! ```
//!
//! Invariants:
//! - one reload at a time; further ones wait their turn and then read the file again;
//! - a reload that began is finished, whoever asked for it and went away meanwhile;
//! - files of TLS are read again with every reload and whenever one of them changes, without a new generation:
//!   handshakes that begin take what then is in force;
//! - generations go up by one with each configuration that came into force, and by none otherwise.
//!
//! Not here: watching the file (`config::file`), handing tables to shards (`publish`).

use std::sync::Arc;
use std::time::Instant;

use pinion_core::config::Problems;
use pinion_core::config::snapshot::{AccessLogFormat, AccessLogPath, AccessLogSettings, ProxySettings};

use super::control::{Control, InForce, Writer, unix_now};
use super::file::{self, LoadError};
use crate::boot::notify;
use crate::publish::Refused;
use crate::telemetry::line::LogFormat;
use crate::telemetry::writer::{LogSettings, LogTarget};
use crate::tls::kernel;
use crate::tls::store::{self as tls, Outcome, TlsStore};

/// Who asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The file changed.
    File,
    /// SIGHUP.
    Signal,
    /// `POST /reload`.
    Admin,
}

/// A reload that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// The generation in force on every shard.
    pub(crate) generation: u64,
    /// Its digest.
    pub(crate) digest: u64,
    /// Whether it is another one than before.
    pub(crate) changed: bool,
}

/// A reload that failed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The file can't be read or has problems; the old configuration stays in force.
    Invalid(String),
    /// The configuration can't be put in force in this process; the old one stays in force.
    Conflict(String),
    /// The new configuration is in force, but a shard has not confirmed it.
    Unconfirmed(String),
    /// The configuration is in force, but files that it names can't be: what they were before stays.
    Files(String),
    /// Too many wait already; nothing was done.
    Busy(String),
}

impl Failed {
    /// What to tell people.
    pub(crate) fn text(&self) -> &str {
        match self {
            Failed::Invalid(text)
            | Failed::Conflict(text)
            | Failed::Unconfirmed(text)
            | Failed::Files(text)
            | Failed::Busy(text) => text,
        }
    }
}

/// Reloads on a thread of its own, which goes on when the caller stops waiting.
pub(crate) async fn reload(control: &Arc<Control>, cause: Cause) -> Result<Done, Failed> {
    let Ok(place) = Arc::clone(&control.reload_places).try_acquire_owned() else {
        return Err(Failed::Busy("too many reloads wait for their turn".to_owned()));
    };
    let control = Arc::clone(control);
    let task = tokio::spawn(async move {
        let _place = place;
        // Turns are taken here and not on the threads for what blocks: those stay free for others.
        let _turn = control.reload_turn.lock().await;
        let blocking = Arc::clone(&control);
        tokio::task::spawn_blocking(move || reload_now(&blocking, cause)).await
    });
    match task.await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) | Err(error) => {
            Err(Failed::Unconfirmed(format!("the reload ended unexpectedly: {error}")))
        }
    }
}

/// Reloads. Blocks for as long as shards take to follow.
fn reload_now(control: &Control, cause: Cause) -> Result<Done, Failed> {
    let mut writer = control.writer();
    let began = Instant::now();
    notify::reloading();
    let done = attempt(control, &mut writer);
    drop(writer);
    if !control.is_stopping() {
        notify::ready();
    }
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &done {
        Ok(done) if done.changed => {
            control.note(|reloads| {
                reloads.adopted += 1;
                (reloads.succeeded, reloads.problem) = (unix_now(), None);
            });
            let (generation, digest) = (done.generation, format_args!("{:016x}", done.digest));
            tracing::info!(?cause, generation, %digest, took_ms, "configuration in force");
        }
        Ok(done) => {
            control.note(|reloads| {
                reloads.unchanged += 1;
                (reloads.succeeded, reloads.problem) = (unix_now(), None);
            });
            // The watcher also sees what was just reloaded on request.
            match cause {
                Cause::File => tracing::debug!(generation = done.generation, "configuration unchanged"),
                _ => tracing::info!(?cause, generation = done.generation, "configuration unchanged"),
            }
        }
        Err(failed) => {
            let text: Arc<str> = failed.text().trim_end().into();
            control.note(|reloads| {
                reloads.rejected += 1;
                (reloads.failed, reloads.problem) = (Some(unix_now()), Some(Arc::clone(&text)));
            });
            match failed {
                Failed::Unconfirmed(_) => tracing::error!(?cause, "{text}"),
                _ => tracing::error!(?cause, "configuration refused, the old one stays in force:\n{text}"),
            }
        }
    }
    done.and_then(|done| refresh_now(control).map(|()| done))
}

/// Reads the files of TLS again, on a thread of its own. What came of it is in the log and the metrics.
pub(crate) async fn refresh(control: &Arc<Control>) {
    let _turn = control.reload_turn.lock().await;
    let blocking = Arc::clone(control);
    // A panic in there is logged where it happens.
    let _ = tokio::task::spawn_blocking(move || refresh_now(&blocking)).await;
}

/// Each listener and cluster for itself: a bad set keeps the last good one in force there.
fn refresh_now(control: &Control) -> Result<(), Failed> {
    let mut refused = Vec::new();
    for Outcome { kind, name, changed, findings } in control.tls().refresh() {
        let found = tls::lines(&findings);
        match changed {
            Some(true) if findings.is_empty() => tracing::info!(kind, %name, "new TLS files in force"),
            Some(true) => tracing::warn!(kind, %name, "new TLS files in force, with warnings:\n{found}"),
            Some(false) => {}
            None => {
                tracing::error!(kind, %name, "TLS files refused, the old ones stay in force:\n{found}");
                refused.push(format!("{kind} {name}: the old TLS files stay in force:\n{found}"));
            }
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Failed::Files(refused.join("\n"))) }
}

fn attempt(control: &Control, writer: &mut Writer) -> Result<Done, Failed> {
    let conflict = |text: &str| Err(Failed::Conflict(text.to_owned()));
    if control.is_stopping() {
        return conflict("the process is stopping");
    }
    let text = file::read(&control.file).map_err(invalid)?;
    let old = control.in_force();
    // A file is emptied before it is written again by tools that don't rename.
    if text.trim().is_empty() {
        return Err(Failed::Invalid(format!("{}: the file is empty", control.file.display())));
    }
    let generation = writer.generation + 1;
    let new = file::compile_text(&text, &control.file, &mut writer.ids, generation, Some(&old.snapshot));
    let new = new.map_err(invalid)?;
    let digest = new.digest;
    if digest == old.snapshot.digest {
        return Ok(Done { generation: old.snapshot.generation, digest, changed: false });
    }
    if let Some(key) = needs_restart(&old.snapshot.proxy, &new.proxy) {
        return conflict(&format!(
            "{}: `proxy.{key}` can't change while the process runs: restart it, or take the change back",
            control.file.display()
        ));
    }
    let tls =
        TlsStore::load(&new, Some(&control.tls())).map_err(|problems| invalid(LoadError::Problems(problems)));
    let (tls, warnings) = tls?;
    log_warnings(&warnings);
    if let Some(lacks) = kernel::probe::lacks(&new) {
        return conflict(&format!("{}: {lacks}", control.file.display()));
    }
    let new = Arc::new(new);
    let prepare = || {
        let (was, is) = (&old.snapshot.proxy.access_log, &new.proxy.access_log);
        match &*control.access_log() {
            Some(log) if was != is => log.apply(log_settings(is.as_ref()).as_ref()),
            _ => Ok(()),
        }
    };
    let published = writer.publisher.publish(&new, &tls, prepare, &|| control.is_stopping());
    let confirmed = match published {
        Ok(()) => Ok(()),
        Err(Refused::Stuck(stuck)) => Err(stuck),
        Err(refused) => return conflict(&refused.to_string()),
    };
    writer.generation = generation;
    let in_force = InForce { text, snapshot: new, since: unix_now() };
    control.now_in_force(in_force, tls, writer.publisher.view());
    match confirmed {
        Ok(()) => Ok(Done { generation, digest, changed: true }),
        Err(stuck) => Err(Failed::Unconfirmed(format!("generation {generation} is in force, but {stuck}"))),
    }
}

fn invalid(error: LoadError) -> Failed {
    Failed::Invalid(error.to_string())
}

/// Logs what is allowed but probably not meant.
pub(crate) fn log_warnings(warnings: &Problems) {
    if !warnings.is_empty() {
        tracing::warn!("{}", warnings.to_string().trim_end());
    }
}

/// The access log's settings as its writer takes them.
pub(crate) fn log_settings(settings: Option<&AccessLogSettings>) -> Option<LogSettings> {
    settings.map(|settings| LogSettings {
        format: match settings.format {
            AccessLogFormat::Json => LogFormat::Json,
            AccessLogFormat::Text => LogFormat::Text,
        },
        target: match &settings.path {
            AccessLogPath::Stdout => LogTarget::Stdout,
            AccessLogPath::File(path) => LogTarget::File(path.clone()),
        },
    })
}

/// The first setting that differs and that only a new process can follow.
fn needs_restart(old: &ProxySettings, new: &ProxySettings) -> Option<&'static str> {
    let settings = [
        ("shards", old.shards == new.shards),
        ("admin", old.admin == new.admin),
        ("driver", old.driver == new.driver),
        ("shard_memory", old.shard_memory == new.shard_memory),
    ];
    settings.into_iter().find(|(_, same)| !same).map(|(key, _)| key)
}
