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
    println!("process http://{address}/machines/{}/processes/{}", fixture::MACHINE, filled.process_id);
    println!("release http://{address}/oci-images/blog@{}", filled.release);
    println!("build http://{address}/builds/{}", filled.build);
    println!("running http://{address}/builds/{}", filled.running_build);
    println!("source http://{address}/source/blog/app.py@{}#L14", filled.source);
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
    let routes = web::guard(web::router(Arc::new(keg)), address);
    axum::serve(listener, routes).await?;
    Ok(())
}
