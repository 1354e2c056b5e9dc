//! The app: answers every request with what it was asked to say; or misbehaves.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::FromRawFd;
use std::time::Duration;

/// `app WHAT [TEXT]`
pub fn main(args: &[String]) {
    let text = args.get(1).cloned().unwrap_or_default();
    println!("app {}", args.join(" "));
    match args.first().map(String::as_str) {
        Some("http") => serve(bound(), |stream| answer(stream, 200, &text)),
        Some("env") => serve(bound(), |stream| answer(stream, 200, &variables())),
        Some("status") => serve(bound(), |stream| answer(stream, text.parse().unwrap_or(500), "")),
        Some("socket") => serve(passed(), |stream| answer(stream, 200, &text)),
        Some("slow") => serve(bound(), |stream| {
            std::thread::sleep(Duration::from_millis(700));
            answer(stream, 200, &text);
        }),
        Some("crash") => {
            eprintln!("ImportError: no module named {text}");
            std::process::exit(3);
        }
        Some("later") => {
            let stop = std::time::Instant::now() + Duration::from_millis(text.parse().unwrap_or(0));
            let listener = bound();
            listener.set_nonblocking(true).expect("non-blocking");
            while std::time::Instant::now() < stop {
                match listener.accept() {
                    Ok((stream, _)) => answer(stream, 200, "soon over"),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            std::process::exit(4);
        }
        Some("silent") | Some("work") => std::thread::sleep(Duration::from_secs(1000)),
        Some("reach") => serve(bound(), |stream| answer(stream, 200, &reach(&text))),
        other => panic!("an app that {other:?}"),
    }
}

fn bound() -> TcpListener {
    let port = std::env::var("PORT").expect("PORT is set");
    TcpListener::bind(format!("0.0.0.0:{port}")).expect("the port is free")
}

fn passed() -> TcpListener {
    assert_eq!(std::env::var("LISTEN_FDS").as_deref(), Ok("1"));
    assert_eq!(std::env::var("LISTEN_PID"), Ok(std::process::id().to_string()));
    // SAFETY: the platform passed the socket as this descriptor, and nobody else owns it.
    unsafe { TcpListener::from_raw_fd(3) }
}

fn serve(listener: TcpListener, handle: impl Fn(TcpStream)) {
    listener.incoming().flatten().for_each(handle);
}

fn answer(mut stream: TcpStream, status: u16, text: &str) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request);
    let length = text.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n");
    let _ = stream.write_all(format!("{head}\r\n{text}").as_bytes());
}

fn variables() -> String {
    let vars = std::env::vars().map(|(name, value)| format!("{name}={value}\n"));
    let mut vars: Vec<String> = vars.collect();
    vars.sort();
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let written = std::fs::write("/app/own-file", "x").is_ok();
    let status = file("/proc/self/status");
    let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap_or("");
    format!("{}{uid}\nhost={}writes={written}\n", vars.concat(), file("/etc/hostname"))
}

fn reach(address: &str) -> String {
    let address = address.parse().expect("an address");
    match TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        Ok(_) => "reached".into(),
        Err(error) => format!("refused: {:?}", error.kind()),
    }
}
