//! The command line of the real program: what it answers where, and with which exit status.
//!
//! Not here: what a configuration may say (tests of `pinion-core`), serving.

#![allow(clippy::unwrap_used, reason = "a test's help fails by panicking")]

mod support;

use std::net::TcpListener;

use support::{Driver, Pinion, Said, drivers, run};

const VALID: &str = r#"
[[listeners]]
name = "web"
address = "127.0.0.1:18080"

[[routes]]
hosts = ["my-service"]
path = { prefix = "/" }
headers = { end-user = "jason" }
cluster = "v2"

[[routes]]
hosts = ["my-service"]
path = { prefix = "/" }
cluster = "v1"

[[clusters]]
name = "v1"
endpoints = ["127.0.0.1:19001"]

[[clusters]]
name = "v2"
endpoints = ["127.0.0.1:19002"]
"#;

fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pinion.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path.display().to_string())
}

#[track_caller]
fn expect(said: &Said, status: i32, stdout: &str, stderr: &str) {
    assert_eq!(said.status, status, "{said:#?}");
    assert!(said.stdout.contains(stdout), "stdout without `{stdout}`: {said:#?}");
    assert!(said.stderr.contains(stderr), "stderr without `{stderr}`: {said:#?}");
    assert!(stdout.is_empty() == said.stdout.is_empty(), "{said:#?}");
    assert!(stderr.is_empty() == said.stderr.is_empty(), "{said:#?}");
}

#[test]
fn help_and_version_succeed() {
    expect(&run(&["--version"]), 0, "pinion 0.", "");
    expect(&run(&["--help"]), 0, "Examples:", "");
    for command in ["run", "explain"] {
        expect(&run(&[command, "--help"]), 0, "Examples:", "");
    }
    for command in ["check", "schema"] {
        expect(&run(&[command, "--help"]), 0, "Usage:", "");
    }
}

#[test]
fn mistakes_in_the_command_line_are_status_2() {
    for args in [
        &[][..],
        &["serve"],
        &["run"],
        &["run", "--config"],
        &["run", "--config", "x", "--log-format", "xml"],
        &["check"],
        &["explain", "http://a/"],
        &["explain", "--config", "x", "--admin", "127.0.0.1:1", "http://a/"],
    ] {
        let said = run(args);
        assert_eq!(said.status, 2, "{args:?}: {said:?}");
        assert!(said.stdout.is_empty() && !said.stderr.is_empty(), "{args:?}: {said:?}");
    }
}

#[test]
fn check_says_ok_or_every_problem() {
    let (_folder, path) = file(VALID);
    expect(&run(&["check", &path]), 0, "ok\n", "");

    let bad = VALID.replace("cluster = \"v1\"", "cluster = \"v3\"\ntimeuot = \"2s\"");
    let (_folder, path) = file(&bad);
    let said = run(&["check", &path]);
    expect(&said, 2, "", &format!("{path}:16:"));
    assert!(said.stderr.contains("timeuot") && said.stderr.contains("timeout"), "{said:#?}");
    assert!(said.stderr.contains("v3") && said.stderr.contains(":15:"), "both problems at once: {said:#?}");

    let missing = format!("{path}.missing");
    expect(&run(&["check", &missing]), 2, "", &missing);
}

#[test]
fn schema_is_json_and_describes_the_tables() {
    let said = run(&["schema"]);
    assert_eq!(said.status, 0);
    let schema: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    for table in ["proxy", "listeners", "routes", "clusters"] {
        assert!(schema["properties"][table].is_object(), "{table}");
    }
}

#[test]
fn a_bad_configuration_ends_run_with_2_before_anything_is_bound() {
    let (_folder, path) = file("[[listeners]]\nname = 3\n");
    expect(&run(&["run", "--config", &path]), 2, "", &path);
    expect(&run(&["run", "--config", &path, "--log-level", "very=loud=x"]), 2, "", "very=loud=x");
}

#[test]
fn an_address_in_use_ends_run_with_1() {
    for reuse_port in [false, true] {
        let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        // Sharing must be refused also where the kernel would allow it.
        taken.set_reuse_port(reuse_port).unwrap();
        taken.bind(&support::free_address().into()).unwrap();
        taken.listen(1).unwrap();
        let taken = TcpListener::from(taken);
        let address = taken.local_addr().unwrap();
        for taken_by_admin in [false, true] {
            let free = support::free_address();
            let (web, admin) = if taken_by_admin { (free, address) } else { (address, free) };
            let text = VALID.replace("127.0.0.1:18080", &web.to_string());
            let (_folder, path) = file(&format!("[proxy]\nadmin = \"{admin}\"\ndriver = \"epoll\"\n{text}"));
            expect(&run(&["run", "--config", &path]), 1, "", &address.to_string());
        }
    }
}

#[test]
fn explain_from_a_file_names_the_route() {
    let (_folder, path) = file(VALID);
    let explain = |more: &[&str]| run(&[&["explain", "--config", path.as_str()], more].concat());
    let text = explain(&["-H", "end-user: jason", "http://my-service/cart"]);
    expect(&text, 0, "v2", "");
    let json = explain(&["--json", "http://my-service/cart"]);
    assert_eq!(json.status, 0, "{json:?}");
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json.to_string().contains("\"v1\""), "{json:#}");
    // A request that no route takes is an answer, not a failure.
    assert_eq!(explain(&["http://other/"]).status, 0);
    for bad in [
        &["-H", "no colon", "http://my-service/"][..],
        &["--listener", "nope", "http://my-service/"],
        &["ftp://my-service/"],
    ] {
        let said = explain(bad);
        assert_eq!(said.status, 2, "{bad:?}: {said:?}");
        assert!(!said.stderr.is_empty());
    }
}

#[test]
fn explain_asks_a_running_proxy() {
    for driver in drivers() {
        let pinion = Pinion::with(driver).config(&VALID.replace("127.0.0.1:18080", "127.0.0.1:0")).start();
        let admin = format!("unix:{}", pinion.admin_socket().display());
        let said = run(&["explain", "--admin", &admin, "-H", "end-user: jason", "http://my-service/"]);
        expect(&said, 0, "v2", "");
        let said = run(&["explain", "--admin", &admin, "--json", "http://my-service/"]);
        let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        assert!(json.to_string().contains("\"v1\""), "{json:#}");
    }
    let nobody = support::free_address().to_string();
    expect(&run(&["explain", "--admin", &nobody, "http://my-service/"]), 1, "", &nobody);
    expect(&run(&["explain", "--admin", "nonsense", "http://my-service/"]), 2, "", "nonsense");
}

#[test]
fn run_on_a_unix_socket_refuses_a_file_that_is_no_socket_and_replaces_a_stale_one() {
    let text = VALID.replace("127.0.0.1:18080", "unix:{folder}/web.sock");
    let builder = Pinion::with(Driver::Epoll).config(&text);
    let socket = builder.folder().join("web.sock");
    std::fs::write(&socket, "precious").unwrap();
    let mut pinion = builder.spawn();
    assert_eq!(pinion.wait_exit().code(), Some(1));
    pinion.wait_stderr("not a socket");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");

    let builder = Pinion::with(Driver::Epoll).config(&text);
    let socket = builder.folder().join("web.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut pinion = builder.start();
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
    pinion.signal(support::Signal::TERM);
    assert_eq!(pinion.wait_exit().code(), Some(0));
    assert!(!socket.exists() && !pinion.admin_socket().exists(), "socket files are removed at the end");
}
