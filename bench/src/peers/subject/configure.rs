//! Each subject's configuration file and command line.
//!
//! The templates are in `bench/peers`, with what makes them fair at their heads; what differs by traffic is
//! in `speak`. Pingora has none (its settings are its program), nor has the floor.

use std::path::Path;
use std::process::Command;

use super::{Subject, speak};
use crate::Problem;
use crate::peers::address::Address;
use crate::peers::certificate::Certificate;
use crate::peers::traffic::Traffic;

/// Between which addresses a subject is put.
pub(crate) struct Place<'a> {
    /// Where clients come.
    pub(crate) listen: &'a Address,
    /// Where requests go.
    pub(crate) upstream: &'a Address,
    /// A free port for administration.
    pub(crate) admin: &'a Address,
    /// What it shows to TLS clients.
    pub(crate) certificate: &'a Certificate,
    /// Where files may be written.
    pub(crate) folder: &'a Path,
}

/// Writes the configuration and gives the command that starts `program` between the two addresses.
///
/// # Errors
/// The file can't be written.
pub(crate) fn command(
    subject: Subject,
    traffic: Traffic,
    program: &Path,
    place: &Place<'_>,
) -> Result<Command, Problem> {
    let write = |name: &str| {
        let path = place.folder.join(name);
        let text = text(subject, traffic, place).unwrap_or_default();
        std::fs::write(&path, text).map_err(|e| format!("can't write {}: {e}", path.display()))?;
        Ok::<_, Problem>(path)
    };
    let mut command = Command::new(program);
    match subject {
        Subject::Pinion | Subject::PinionEpoll => {
            command.arg("run").arg("--config").arg(write("pinion.toml")?);
        }
        Subject::Nginx => {
            command.arg("-c").arg(write("nginx.conf")?).arg("-p").arg(place.folder);
        }
        Subject::Haproxy => {
            // In the foreground.
            command.arg("-db").arg("-f").arg(write("haproxy.cfg")?);
        }
        Subject::Envoy => {
            command.arg("-c").arg(write("envoy.yaml")?);
            command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
        }
        Subject::Pingora => {
            between(&mut command, place);
            command.arg("--folder").arg(place.folder);
        }
        Subject::Floor => {
            command.arg("floor");
            between(&mut command, place);
        }
    }
    Ok(command)
}

/// The configuration, if the subject has one.
fn text(subject: Subject, traffic: Traffic, place: &Place<'_>) -> Option<String> {
    let (template, mut changes) = speak::template(subject, traffic, place.certificate)?;
    let address = |address: &Address| written(subject, address);
    changes.extend([
        ("@LISTEN@", address(place.listen)),
        ("@UPSTREAM@", address(place.upstream)),
        ("@ADMIN@", address(place.admin)),
        ("@FOLDER@", place.folder.display().to_string()),
    ]);
    Some(changes.iter().fold(template.to_owned(), |text, (from, to)| text.replace(from, to)))
}

fn between(command: &mut Command, place: &Place<'_>) {
    command.args(["--listen", &place.listen.to_string(), "--upstream", &place.upstream.to_string()]);
}

/// An address as the subject's configuration wants it.
fn written(subject: Subject, address: &Address) -> String {
    match (subject, address) {
        (Subject::Envoy, Address::Tcp(address)) => {
            format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", address.ip(), address.port())
        }
        (Subject::Envoy, Address::Unix(path)) => format!("{{ pipe: {{ path: {} }} }}", path.display()),
        (Subject::Haproxy, Address::Unix(path)) => format!("unix@{}", path.display()),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn no_placeholder_is_left_in_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = &Certificate::make(folder.path()).unwrap();
        let tcp: Address = "127.0.0.1:1".parse().unwrap();
        let unix: Address = "unix:/run/a.sock".parse().unwrap();
        for (address, shown) in [(&tcp, ["127.0.0.1:1", "port_value: 1 "]), (&unix, ["/run/a.sock"; 2])] {
            let place =
                Place { listen: address, upstream: address, admin: &tcp, certificate, folder: folder.path() };
            for traffic in Traffic::value_variants().iter().chain([&Traffic::Http1]) {
                for subject in Subject::ALL {
                    let command = command(subject, *traffic, Path::new("program"), &place).unwrap();
                    assert_eq!(command.get_program(), "program");
                }
                for file in ["pinion.toml", "nginx.conf", "haproxy.cfg", "envoy.yaml"] {
                    let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
                    let is_place = |c: char| c.is_ascii_uppercase() || c == '_';
                    let places = text.split('@').filter(|part| part.chars().all(is_place));
                    assert_eq!(places.count(), 0, "{text}");
                    assert!(shown.iter().any(|shown| text.contains(shown)), "{text}");
                    let names =
                        [&certificate.chain, &certificate.bundle].map(|path| path.display().to_string());
                    assert_eq!(names.iter().any(|name| text.contains(name)), traffic.is_tls(), "{text}");
                }
            }
        }
    }
}
