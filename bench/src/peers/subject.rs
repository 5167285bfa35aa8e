//! The proxies that are compared: how each one is configured, started and asked for its version.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::Problem;
use crate::ports::Ports;
use crate::programs::Programs;

const NGINX: &str = include_str!("../../peers/nginx.conf");
const HAPROXY: &str = include_str!("../../peers/haproxy.cfg");
const PINION: &str = include_str!("../../peers/pinion.toml");

/// A proxy under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Subject {
    /// Pinion on io_uring.
    Pinion,
    /// Pinion on epoll.
    PinionEpoll,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
}

impl Subject {
    /// How tables call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Subject::Pinion => "pinion (io_uring)",
            Subject::PinionEpoll => "pinion (epoll)",
            Subject::Nginx => "nginx",
            Subject::Haproxy => "HAProxy",
        }
    }

    /// A file-system name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::Pinion => "pinion",
            Subject::PinionEpoll => "pinion-epoll",
            Subject::Nginx => "nginx",
            Subject::Haproxy => "haproxy",
        }
    }

    /// The version that the program says it has.
    ///
    /// # Errors
    /// It is not installed.
    pub(crate) fn version(self, programs: &Programs) -> Result<String, Problem> {
        let (program, argument) = match self {
            Subject::Pinion | Subject::PinionEpoll => (programs.pinion.as_path(), "--version"),
            Subject::Nginx => (Path::new("nginx"), "-v"),
            Subject::Haproxy => (Path::new("haproxy"), "-v"),
        };
        let output = Command::new(program).arg(argument).output().map_err(|e| {
            format!("can't run {} ({e}); on Debian: apt-get install nginx haproxy", program.display())
        })?;
        // nginx says it on stderr.
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Writes the configuration and gives the command that starts the proxy between the two addresses.
    ///
    /// # Errors
    /// The file can't be written, or there is no port for the admin interface.
    pub(crate) fn command(
        self,
        programs: &Programs,
        folder: &Path,
        listen: SocketAddr,
        upstream: SocketAddr,
    ) -> Result<Command, Problem> {
        let (template, file) = match self {
            Subject::Pinion | Subject::PinionEpoll => (PINION, "pinion.toml"),
            Subject::Nginx => (NGINX, "nginx.conf"),
            Subject::Haproxy => (HAPROXY, "haproxy.cfg"),
        };
        let driver = if self == Subject::PinionEpoll { "epoll" } else { "io_uring" };
        let admin = Ports::default().pick(0)?;
        let text = template
            .replace("@LISTEN@", &listen.to_string())
            .replace("@UPSTREAM@", &upstream.to_string())
            .replace("@ADMIN@", &admin.to_string())
            .replace("@DRIVER@", driver)
            .replace("@FOLDER@", &folder.display().to_string());
        let path = folder.join(file);
        std::fs::write(&path, text).map_err(|e| format!("can't write {}: {e}", path.display()))?;
        let mut command = match self {
            Subject::Pinion | Subject::PinionEpoll => Command::new(&programs.pinion),
            Subject::Nginx => Command::new("nginx"),
            Subject::Haproxy => Command::new("haproxy"),
        };
        match self {
            Subject::Pinion | Subject::PinionEpoll => command.arg("run").arg("--config").arg(path),
            Subject::Nginx => command.arg("-c").arg(path).arg("-p").arg(folder),
            // In the foreground.
            Subject::Haproxy => command.arg("-db").arg("-f").arg(path),
        };
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left_in_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let programs = Programs { pinion: "pinion".into(), load: "load".into(), bench: "bench".into() };
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        for subject in [Subject::Pinion, Subject::PinionEpoll, Subject::Nginx, Subject::Haproxy] {
            subject.command(&programs, folder.path(), address, address).unwrap();
        }
        for file in ["pinion.toml", "nginx.conf", "haproxy.cfg"] {
            let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
            assert!(!text.contains('@') && text.contains("127.0.0.1:1"), "{text}");
        }
    }
}
