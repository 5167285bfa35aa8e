//! Which route a request takes, on the wire: conditions, weights, answers of the proxy's own.

use crate::wire::{Setup, Upstream, both, get, ok};

/// A route that answers with its own name.
fn route(name: &str, conditions: &str) -> String {
    format!(
        "[[routes]]\nname = \"{name}\"\n{conditions}\ndirect_response = {{ status = 200, body = \"{name}\" }}\n"
    )
}

#[test]
fn conditions_choose_the_route() {
    let routes = [
        route("root", ""),
        route("host", "hosts = [\"api.test\"]"),
        route("wildcard", "hosts = [\"*.wild.test\"]"),
        route("exact", "path = \"/exact\""),
        route("prefix", "path = { prefix = \"/pre\" }"),
        route("regex", "path = { regex = \"/r/[0-9]+\" }"),
        route("method", "methods = [\"DELETE\"]"),
        route("header", "headers = { end-user = \"jason\" }"),
        route("range", "path = \"/n\"\nheaders = { x-number = { range = { start = 10, end = 20 } } }"),
        route("query", "path = \"/q\"\nquery = { version = { prefix = \"2.\" } }"),
        route("both", "path = { prefix = \"/pre\" }\nheaders = { end-user = \"jason\" }"),
    ]
    .concat();
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).routes(&routes).start(&[&upstream]);
        let mut client = proxy.client();
        for (line, host, fields, name) in [
            ("GET /", "test", "", "root"),
            ("GET /", "api.test", "", "host"),
            ("GET /", "API.Test:8080", "", "host"),
            ("GET /", "api.test.", "", "host"),
            ("GET /", "a.wild.test", "", "wildcard"),
            ("GET /", "a.b.wild.test", "", "wildcard"),
            ("GET /", "wild.test", "", "root"),
            ("GET /exact", "test", "", "exact"),
            ("GET /exact?x", "test", "", "exact"),
            ("GET /exac%74", "test", "", "exact"),
            ("GET /x/../exact", "test", "", "exact"),
            ("GET /exact/", "test", "", "root"),
            ("GET /pre", "test", "", "prefix"),
            ("GET /pre/fix", "test", "", "prefix"),
            ("GET /prefix", "test", "", "root"),
            ("GET /r/12", "test", "", "regex"),
            ("GET /r/12a", "test", "", "root"),
            ("DELETE /", "test", "", "method"),
            ("GET /", "test", "End-User: jason\r\n", "header"),
            ("GET /", "test", "End-User: Jason\r\n", "root"),
            ("GET /n", "test", "X-Number: 10\r\n", "range"),
            ("GET /n", "test", "X-Number: 20\r\n", "root"),
            ("GET /q?version=2.7", "test", "", "query"),
            ("GET /q?a=b&version=2.7", "test", "", "query"),
            ("GET /q?version=3", "test", "", "root"),
            ("GET /pre/x", "test", "end-user: jason\r\n", "both"),
        ] {
            client.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
            let response = client.response();
            assert_eq!(response.text(), name, "{line} {host} {fields}");
        }
        upstream.expect_no_connection();
        proxy.expect_no_faults();
    });
}

#[test]
fn no_route_is_404_and_the_connection_goes_on() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver).routes(&route("only", "path = \"/only\"")).start(&[&upstream]);
        let mut client = proxy.client();
        for _ in 0..2 {
            client.send(get("/other"));
            let response = client.response();
            assert_eq!((response.status(), response.get("connection")), (404, None));
            client.send(get("/only"));
            assert_eq!(client.response().text(), "only");
        }
        // A body that is here already is passed over.
        client.send("POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        let response = client.response();
        assert_eq!((response.status(), response.get("connection")), (404, None));
        client.send(get("/only"));
        assert_eq!(client.response().text(), "only");
        // A body that nobody will read ends the connection.
        client.send("POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nsome");
        let response = client.response();
        assert_eq!((response.status(), response.get("connection")), (404, Some("close")));
        client.expect_closed();
    });
}

#[test]
fn requests_on_one_connection_may_go_to_different_clusters() {
    both(|driver| {
        let (one, two) = (Upstream::serve(|_| ok("one")), Upstream::serve(|_| ok("two")));
        let proxy = Setup::on(driver)
            .routes("[[routes]]\npath = { prefix = \"/1\" }\ncluster = \"app\"\n[[routes]]\ncluster = \"other\"\n")
            .more(&format!("[[clusters]]\nname = \"other\"\nendpoints = [\"{}\"]", two.address()))
            .start(&[&one]);
        let mut client = proxy.client();
        client.send([get("/1"), get("/2"), get("/1/x"), get("/2"), get("/1")].concat());
        for text in ["one", "two", "one", "two", "one"] {
            assert_eq!(client.response().text(), text);
        }
        assert_eq!((one.accepted(), two.accepted()), (1, 1));
        proxy.expect_no_faults();
    });
}

#[test]
fn weights_share_the_requests() {
    both(|driver| {
        let (one, two) = (Upstream::serve(|_| ok("one")), Upstream::serve(|_| ok("two")));
        let proxy = Setup::on(driver)
            .routes(
                "[[routes]]\nsplit = [{ cluster = \"app\", weight = 90 }, { cluster = \"other\", weight = 10 }]\n",
            )
            .more(&format!("[[clusters]]\nname = \"other\"\nendpoints = [\"{}\"]", two.address()))
            .start(&[&one]);
        let mut client = proxy.client();
        let mut of_two = 0;
        for _ in 0..10 {
            client.send(get("/").repeat(200));
            of_two += (0..200).filter(|_| client.response().text() == "two").count();
        }
        // 200 expected; six standard deviations are 80.
        assert!((120..=280).contains(&of_two), "{of_two} of 2000");
        proxy.expect_no_faults();
    });
}

#[test]
fn endpoints_share_the_requests() {
    both(|driver| {
        for balance in ["round-robin", "least-request"] {
            let upstreams =
                [Upstream::serve(|_| ok("0")), Upstream::serve(|_| ok("1")), Upstream::serve(|_| ok("2"))];
            let proxy = Setup::on(driver).cluster(&format!("balance = \"{balance}\"")).start(&[
                &upstreams[0],
                &upstreams[1],
                &upstreams[2],
            ]);
            let mut client = proxy.client();
            client.send(get("/").repeat(300));
            let mut counts = [0; 3];
            for _ in 0..300 {
                counts[client.response().text().parse::<usize>().unwrap()] += 1;
            }
            assert!(counts.iter().all(|count| (60..=140).contains(count)), "{balance}: {counts:?}");
        }
    });
}

#[test]
fn direct_responses_are_whole_messages() {
    both(|driver| {
        let upstream = Upstream::start();
        let proxy = Setup::on(driver)
            .routes(
                "[[routes]]\npath = \"/empty\"\ndirect_response = { status = 204 }\n\
                 [[routes]]\ndirect_response = { status = 503, body = \"down\", \
                 headers = { retry-after = \"5\", content-type = \"text/html\" } }\n",
            )
            .start(&[&upstream]);
        let mut client = proxy.client();
        client.send(get("/"));
        let response = client.response();
        assert_eq!((response.status(), response.text()), (503, "down"));
        assert_eq!(response.get("retry-after"), Some("5"));
        assert_eq!(response.get("content-type"), Some("text/html"));
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = client.head();
        assert_eq!((head.status(), head.get("content-length")), (503, Some("4")));
        client.send("POST /empty HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        let response = client.response();
        assert_eq!((response.status(), response.get("content-length")), (204, None));
        client.send("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(client.response().get("connection"), Some("close"));
        client.expect_closed();
        upstream.expect_no_connection();
        proxy.expect_no_faults();
    });
}
