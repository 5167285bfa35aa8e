//! Tables of exchanges: events in, decisions out.

use super::*;
use crate::http::h1::parse::{HeadLimits, Progress, parse_request, parse_response};

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, uri_bytes: 1024 };
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";

fn exchange(request: &str) -> Exchange {
    let mut head = RequestHead::new();
    assert_eq!(parse_request(request.as_bytes(), &LIMITS, &mut head), Ok(Progress::Complete));
    Exchange::new(&head, false, true)
}

fn answer(exchange: &mut Exchange, response: &str) -> Result<Answer, Fault> {
    let mut head = ResponseHead::new();
    let got = parse_response(response.as_bytes(), &LIMITS, exchange.method, &mut head);
    assert_eq!(got, Ok(Progress::Complete), "{response:?}");
    exchange.on_response_head(&head, || {
        head.upgrade.is_some_and(|choice| choice.of(response.as_bytes()) == b"websocket")
    })
}

/// A request answered whole: how the response is framed, and what becomes of the connections.
#[track_caller]
fn check(request: &str, response: &str, framing: Framing, downstream: Reuse, upstream: Reuse) {
    let mut exchange = exchange(request);
    exchange.on_request_sent();
    exchange.on_request_body_done();
    let Ok(Answer::Final { frame, .. }) = answer(&mut exchange, response) else { panic!("{response:?}") };
    if exchange.until_close {
        assert_eq!(exchange.on_upstream_closed(false), Closed::Complete);
    } else {
        exchange.on_response_done(false);
    }
    assert_eq!(frame.framing, framing, "{request:?} {response:?}");
    assert_eq!(frame.keep_alive, downstream == Reuse::Keep, "told what happens: {request:?} {response:?}");
    assert_eq!(
        (exchange.downstream(), exchange.upstream()),
        (downstream, upstream),
        "{request:?} {response:?}"
    );
}

#[test]
fn whole_exchanges() {
    use Reuse::{Close, Keep};
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless = "HTTP/1.1 200 OK\r\n\r\n";
    let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n";
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n";
    let old_keep = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n";
    check(GET, OK, Framing::Length(2), Keep, Keep);
    check(POST, OK, Framing::Length(2), Keep, Keep);
    check(GET, chunked, Framing::Chunked, Keep, Keep);
    check(GET, endless, Framing::Chunked, Keep, Close);
    check(GET, closing, Framing::Length(2), Keep, Close);
    check(GET, old, Framing::Length(2), Keep, Close);
    check(GET, old_keep, Framing::Length(2), Keep, Keep);
    check(OLD, OK, Framing::Length(2), Keep, Keep);
    check(OLD, chunked, Framing::UntilClose, Close, Keep);
    check(OLD, endless, Framing::UntilClose, Close, Close);
    check("GET / HTTP/1.0\r\n\r\n", OK, Framing::Length(2), Close, Keep);
    check("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", OK, Framing::Length(2), Close, Keep);
    check("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", OK, Framing::None, Keep, Keep);
    check("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", endless, Framing::None, Keep, Keep);
    check(GET, "HTTP/1.1 204 x\r\n\r\n", Framing::None, Keep, Keep);
    check(GET, "HTTP/1.1 304 x\r\n\r\n", Framing::None, Keep, Keep);
    check("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", OK, Framing::Length(2), Keep, Close);
}

#[test]
fn an_early_answer_ends_both_connections() {
    let mut exchange = exchange(POST);
    exchange.on_request_sent();
    let Ok(Answer::Final { frame, .. }) = answer(&mut exchange, OK) else { panic!() };
    assert!(!frame.keep_alive);
    exchange.on_response_done(false);
    assert_eq!((exchange.downstream(), exchange.upstream()), (Reuse::Close, Reuse::Close));
    // The body's end after the answer's head frees the upstream, but the client was told.
    exchange.on_request_body_done();
    assert_eq!((exchange.downstream(), exchange.upstream()), (Reuse::Close, Reuse::Keep));
}

#[test]
fn surplus_closes_the_upstream() {
    let mut exchange = exchange(GET);
    assert!(answer(&mut exchange, OK).is_ok());
    exchange.on_response_done(true);
    assert_eq!((exchange.downstream(), exchange.upstream()), (Reuse::Keep, Reuse::Close));
}

#[test]
fn interim_responses() {
    let hint = "HTTP/1.1 103 x\r\n\r\n";
    let mut old = exchange(OLD);
    assert_eq!(answer(&mut old, hint), Ok(Answer::Interim { forward: false }));
    let mut exchange = exchange(GET);
    for _ in 0..INTERIM_RESPONSES_MAX {
        assert_eq!(answer(&mut exchange, hint), Ok(Answer::Interim { forward: true }));
    }
    assert_eq!(answer(&mut exchange, hint), Err(Fault::UpstreamMalformed));
    assert_eq!(exchange.upstream(), Reuse::Close);
}

#[test]
fn switching_needs_to_be_asked_for() {
    let switch = "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(answer(&mut exchange(GET), switch), Err(Fault::UpstreamMalformed));
    for wrong in [
        "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 x\r\n\r\n",
    ] {
        let mut exchange = exchange(ASK);
        assert_eq!(answer(&mut exchange, wrong), Err(Fault::UpstreamMalformed), "{wrong:?}");
        assert_eq!((exchange.downstream(), exchange.upstream()), (Reuse::Close, Reuse::Close));
    }
    let mut exchange = exchange(ASK);
    assert!(matches!(answer(&mut exchange, "HTTP/1.1 103 x\r\n\r\n"), Ok(Answer::Interim { .. })));
    assert!(matches!(answer(&mut exchange, switch), Ok(Answer::Switching { .. })));
    assert_eq!((exchange.downstream(), exchange.upstream()), (Reuse::Close, Reuse::Close));
    assert_eq!(exchange.on_upstream_closed(true), Closed::After);
}

#[test]
fn a_refused_upgrade_is_an_ordinary_exchange() {
    let mut refused = exchange(ASK);
    refused.on_request_sent();
    assert!(refused.asks_for_tunnel());
    assert!(matches!(answer(&mut refused, OK), Ok(Answer::Final { frame, .. }) if frame.keep_alive));
    refused.on_response_done(false);
    assert_eq!((refused.downstream(), refused.upstream()), (Reuse::Keep, Reuse::Keep));
}

#[test]
fn what_asks_for_a_tunnel_is_sent_once() {
    let mut sent = exchange(ASK);
    assert!(sent.is_repeatable() && sent.may_retry(Fault::ConnectFailed, false));
    sent.on_request_sent();
    assert!(!sent.is_repeatable() && !sent.may_retry(Fault::StaleConnection, true));
    // Where its Upgrade stays behind it is a GET like any other.
    let mut head = RequestHead::new();
    assert_eq!(parse_request(ASK.as_bytes(), &LIMITS, &mut head), Ok(Progress::Complete));
    let mut stripped = Exchange::new(&head, false, false);
    stripped.on_request_sent();
    assert!(!stripped.asks_for_tunnel() && stripped.may_retry(Fault::StaleConnection, true));
}

#[test]
fn a_connect_that_is_answered_ends_both_connections() {
    let mut connect = exchange("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    assert!(connect.asks_for_tunnel() && connect.may_retry(Fault::ConnectFailed, false));
    connect.on_connected();
    assert!(!connect.is_repeatable() && !connect.awaits_response());
    assert_eq!((connect.downstream(), connect.upstream()), (Reuse::Close, Reuse::Close));
    assert_eq!(connect.on_upstream_closed(false), Closed::After);
}

#[test]
fn a_second_final_response_is_out_of_step() {
    let mut exchange = exchange(GET);
    assert!(answer(&mut exchange, OK).is_ok());
    assert_eq!(answer(&mut exchange, OK), Err(Fault::UpstreamMalformed));
}

#[test]
fn closing_upstreams() {
    let mut stale = exchange(GET);
    stale.on_request_sent();
    assert_eq!(stale.on_upstream_closed(true), Closed::Fault(Fault::StaleConnection));
    let mut fresh = exchange(GET);
    assert_eq!(fresh.on_upstream_closed(false), Closed::Fault(Fault::UpstreamClosed));
    let mut begun = exchange(GET);
    begun.on_response_bytes();
    assert_eq!(begun.on_upstream_closed(true), Closed::Fault(Fault::UpstreamClosed));
    let mut truncated = exchange(GET);
    assert!(answer(&mut truncated, OK).is_ok());
    assert_eq!(truncated.on_upstream_closed(true), Closed::Fault(Fault::UpstreamTruncated));
    assert_eq!((truncated.downstream(), truncated.upstream()), (Reuse::Close, Reuse::Close));
}

#[test]
fn what_is_sent_again() {
    // Nothing sent: always.
    assert!(exchange(POST).may_retry(Fault::ConnectFailed, false));
    assert!(exchange(POST).may_retry(Fault::StaleConnection, true));
    // Sent on a reused connection that closed: idempotent methods only.
    let sent = |request| {
        let mut exchange = exchange(request);
        exchange.on_request_sent();
        exchange
    };
    assert!(sent(GET).may_retry(Fault::StaleConnection, true));
    assert!(!sent(GET).may_retry(Fault::UpstreamClosed, false));
    assert!(!sent(GET).may_retry(Fault::FirstByteTimeout, false));
    assert!(!sent(POST).may_retry(Fault::StaleConnection, true));
    assert!(!sent(GET).may_retry(Fault::UpstreamMalformed, true));
    // A body that is gone, or an answer that was seen, ends it.
    let mut streamed = exchange("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    streamed.on_request_streamed();
    assert!(!streamed.may_retry(Fault::ConnectFailed, true) && !streamed.is_repeatable());
    let mut answered = sent(GET);
    answered.on_response_bytes();
    assert!(!answered.may_retry(Fault::StaleConnection, true) && answered.is_repeatable());
    let mut passed = sent(GET);
    assert!(answer(&mut passed, "HTTP/1.1 103 x\r\n\r\n").is_ok());
    assert!(!passed.is_repeatable());
    // A new attempt starts clean.
    let mut again = sent(GET);
    assert_eq!(again.on_upstream_closed(true), Closed::Fault(Fault::StaleConnection));
    again.on_retry();
    assert!(answer(&mut again, OK).is_ok());
    again.on_response_done(false);
    assert_eq!((again.downstream(), again.upstream()), (Reuse::Keep, Reuse::Keep));
}

#[test]
fn own_answers_and_draining() {
    let mut whole = exchange(GET);
    assert!(whole.on_own_answer());
    assert_eq!((whole.downstream(), whole.upstream()), (Reuse::Keep, Reuse::Close));
    assert!(!exchange(POST).on_own_answer(), "the body was not read");
    assert!(!exchange(OLD).on_own_answer());
    let mut draining = exchange(GET);
    draining.on_drain();
    assert!(matches!(answer(&mut draining, OK), Ok(Answer::Final { frame, .. }) if !frame.keep_alive));
    draining.on_response_done(false);
    assert_eq!((draining.downstream(), draining.upstream()), (Reuse::Close, Reuse::Keep));
    let mut told = exchange(GET);
    assert!(answer(&mut told, OK).is_ok());
    told.on_drain();
    told.on_response_done(false);
    assert_eq!(told.downstream(), Reuse::Keep, "the next request will be told");
    let mut gone = exchange(GET);
    assert!(answer(&mut gone, OK).is_ok());
    gone.on_downstream_closed();
    gone.on_response_done(false);
    assert_eq!((gone.downstream(), gone.upstream()), (Reuse::Close, Reuse::Keep));
}
