//! Ctrl-C and SIGTERM as a flag that the program looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::Problem;

/// How often the flag is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Whether the user wants an end.
#[derive(Clone)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Watches for SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// The signals can't be watched.
    pub(crate) fn watch() -> Result<Self, Problem> {
        let flag = Arc::new(AtomicBool::new(false));
        let stop = Stop(Arc::clone(&flag));
        let (ready, installed) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            let outcome = runtime.and_then(|runtime| {
                runtime.block_on(async {
                    let mut interrupt = signal(SignalKind::interrupt())?;
                    let mut terminate = signal(SignalKind::terminate())?;
                    // The other side waits for this message; if it is gone, so is the program.
                    let _ = ready.send(Ok(()));
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    Ok(())
                })
            });
            match outcome {
                Ok(()) => flag.store(true, Ordering::Relaxed),
                Err(error) => drop(ready.send(Err(format!("can't watch signals: {error}")))),
            }
        });
        installed.recv().map_err(|_| "can't watch signals".to_owned())??;
        Ok(stop)
    }

    /// Whether a signal came.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps until `deadline` (for ever without one) or a signal, or until `each` fails, which is asked
    /// again and again.
    ///
    /// # Errors
    /// What `each` failed with.
    pub(crate) fn sleep(
        &self,
        deadline: Option<Instant>,
        mut each: impl FnMut() -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        while !self.is_set() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            each()?;
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}
