use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;

/// A server that answers each connection's first request with the next of `answers` and closes;
/// returns its address and what it was asked.
#[allow(clippy::disallowed_methods)]
fn server(answers: Vec<String>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (asked, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            // Told first: who has the answer may count at once.
            drop(asked.send(head(&stream)));
            stream.write_all(answer.as_bytes()).expect("written");
        }
    });
    (url, requests)
}

/// Reads a request; returns its first line.
fn head(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    lines.find(String::is_empty);
    first
}

fn answer(status: &str, body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}")
}

fn get(answers: &[String], limit: u64) -> (Result<Vec<u8>, HttpError>, usize) {
    let (url, requests) = server(answers.to_vec());
    let client = Client::new(None).expect("a client");
    let result = client.get(&format!("{url}/x"), limit, "*/*");
    (result, requests.try_iter().count())
}

#[test]
fn what_may_pass_is_tried_again_and_the_rest_is_not() {
    let ok = answer("200 OK", "hello");
    let busy = answer("503 Busy", "");
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel".to_owned();
    let (result, tries) = get(&[busy.clone(), cut.clone(), ok.clone()], 100);
    assert_eq!(result.expect("the third time"), b"hello");
    assert_eq!(tries, 3);
    let (result, _) = get(&[busy.clone(), busy.clone(), busy, ok.clone()], 100);
    assert!(matches!(result, Err(HttpError::Status { status: 503, .. })), "{result:?}");
    let (result, tries) = get(&[answer("404 No", ""), ok.clone()], 100);
    assert!(matches!(result, Err(HttpError::NotFound { .. })), "{result:?}");
    assert_eq!(tries, 1);
    let (result, _) = get(&[ok], 4);
    assert!(matches!(result, Err(HttpError::TooLarge { limit: 4, .. })), "{result:?}");
}

#[test]
fn a_server_that_is_down_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/x", listener.local_addr().expect("bound"));
    drop(listener);
    let error = Client::new(None).expect("a client").get(&url, 10, "*/*").expect_err("down");
    assert!(error.is_unreachable(), "{error}");
    assert!(Client::new(Some("no proxy at all")).is_err());
}

#[test]
fn each_attempt_has_a_new_sink() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel".to_owned();
    let (url, _requests) = server(vec![cut, answer("200 OK", "hello")]);
    let client = Client::new(None).expect("a client");
    let body = client.fetch(&url, 100, || Ok(Vec::new()), &mut |_| {}).expect("good");
    assert_eq!(body, b"hello");
}

#[test]
fn a_trickle_is_no_download() {
    for (bytes, seconds, want) in
        [(0, 60, false), (61 * 1024, 61, false), (61 * 1023, 61, true), (1 << 20, 3600, true)]
    {
        assert_eq!(is_too_slow(bytes, Duration::from_secs(seconds)), want, "{bytes} {seconds}");
    }
}
