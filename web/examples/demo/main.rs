//! Serves the web pages over a made-up Keg, to look at them: `cargo run -p web --example demo`.
//! Prints the address. With `--lines` it also writes a line into the running build's log each
//! second.

mod fixture;

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> fixture::Result<()> {
    let keg = keg::Keg::in_memory();
    let filled = fixture::fill(&keg)?;
    let port = std::env::var("PORT").unwrap_or_else(|_| "0".to_owned());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let address = listener.local_addr()?;
    println!("http://{address}/");
    for (name, path) in [
        ("process", format!("/machines/{}/processes/{}", fixture::MACHINE, filled.process_id)),
        ("process", format!("/-/search?q={}", filled.process)),
        ("release", format!("/oci-images/blog@{}", filled.release)),
        ("before", format!("/oci-images/blog@{}", filled.former_release)),
        ("image", format!("/-/search?q={}", filled.image)),
        ("build", format!("/builds/{}", filled.build)),
        ("running", format!("/builds/{}", filled.running_build)),
        ("source", format!("/source/blog/app.py@{}#L14", filled.source)),
        ("before", format!("/source/blog@{}", filled.former_source)),
    ] {
        println!("{name} http://{address}{path}");
    }
    if std::env::args().any(|arg| arg == "--lines") {
        let (keg, stream) = (keg.clone(), filled.running_stream.clone());
        tokio::spawn(async move {
            for number in 1.. {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let line = format!("       tile {number}");
                if keg.streams().create(&stream).and_then(|mut s| s.line(&line)).is_err() {
                    break;
                }
            }
        });
    }
    let routes = web::guard(web::router(Arc::new(keg), 256));
    axum::serve(listener, routes).await?;
    Ok(())
}
