//! Entry of the service processes: one process, one thread, one event loop each.

use std::{
    net::TcpListener,
    os::fd::{FromRawFd, OwnedFd},
    sync::Arc,
};

use axum::{Json, Router, routing::get};
use keg::Keg;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::Service,
    error::CommandError,
    find::{self, Running},
    front::{self, Limits},
};

/// Runs a service until SIGTERM.
pub fn run(args: Service) -> Result<(), CommandError> {
    let (keg, running) = find::running_keg()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.name.as_str() {
            "front" => serve_front(keg, running, listener(args.fd)?).await,
            "router" => router(keg, listener(args.fd)?).await,
            _ => mayor(keg, running, args.keep).await,
        }
    })
}

fn listener(fd: Option<i32>) -> Result<TcpListener, CommandError> {
    let fd = fd.ok_or_else(|| CommandError::cli("this service is started by `keg up`"))?;
    // SAFETY: `keg up` passed this descriptor to us and nothing else here owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(std::io::Error::from)?;
    Ok(TcpListener::from(fd))
}

async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            terminate.recv().await;
        }
        Err(error) => eprintln!("cannot wait for SIGTERM: {error}"),
    }
}

/// Git, registry, REST and web on one port.
async fn serve_front(
    keg: Arc<Keg>,
    running: Running,
    listener: TcpListener,
) -> Result<(), CommandError> {
    let about = running.clone();
    let limits = Limits::USUAL.fitting();
    let router = Router::new()
        .route("/-/keg.json", get(move || async move { Json(about) }))
        .merge(receiver::http::router(receiver::Context::new(keg.clone())))
        .merge(registry::router(keg.clone()))
        .merge(peer::router(keg.clone(), peer::Pushes::Loopback))
        .fallback_service(web::router(keg.clone(), limits.followers()));
    let router = web::guard(router);
    let _row = keg::process::register(&keg, "service/front", &running.url)?;
    Ok(front::serve(listener, router, limits, terminated()).await?)
}

async fn router(keg: Arc<Keg>, listener: TcpListener) -> Result<(), CommandError> {
    let _row = keg::process::register(&keg, "service/router", "router")?;
    tokio::select! {
        result = mayor::router::serve(keg.clone(), listener) => {
            result.map_err(|error| CommandError::internal("the router stopped", error))
        }
        () = terminated() => Ok(()),
    }
}

async fn mayor(keg: Arc<Keg>, running: Running, keep: bool) -> Result<(), CommandError> {
    let _row = keg::process::register(&keg, "service/mayor", "mayor")?;
    let options = mayor::Options::new(running.machine, running.apps_url, keep, terminated());
    mayor::serve(keg.clone(), options)
        .await
        .map_err(|error| CommandError::internal("the mayor stopped", error))
}
