//! Routes that change while requests come in.

use std::{cell::Cell, rc::Rc, time::Duration};

use hyper::StatusCode;
use tokio::{
    task::spawn_local,
    time::{sleep, timeout},
};

use super::support::{App, Shared, world};

const CLIENTS: usize = 8;
const SWITCHES: usize = 20;
/// When a switch that has no effect yet will have none.
const LATE: Duration = Duration::from_secs(10);

/// Switches from process to process under load; every request must be answered by one of them.
async fn switch_under_load(method: &'static str, grace: Duration) {
    world(async |world| {
        let mut app = App::start("the app").await;
        world.route("blog", &[app.address]);
        let done = Rc::new(Cell::new(false));
        let answers: Shared<StatusCode> = Shared::default();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = world.client().await;
            let (done, answers) = (Rc::clone(&done), Rc::clone(&answers));
            clients.push(spawn_local(async move {
                while !done.get() {
                    let (status, _) = client.ask(method, "blog.localhost", "/", "").await;
                    answers.borrow_mut().push(status);
                }
            }));
        }
        for _ in 0..SWITCHES {
            sleep(Duration::from_millis(10)).await;
            let next = App::start("the app").await;
            world.route("blog", &[next.address]);
            sleep(grace).await;
            std::mem::replace(&mut app, next).stop();
        }
        // The last switch as well comes to its effect under load.
        let used = async {
            while app.connections.get() == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LATE, used).await.expect("the last process is used");
        done.set(true);
        for client in clients {
            client.await.expect("the client got its answers");
        }
        let answers = answers.borrow();
        let failed: Vec<_> = answers.iter().filter(|status| **status != StatusCode::OK).collect();
        assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), answers.len());
        assert!(answers.len() > CLIENTS * SWITCHES, "only {}", answers.len());
    })
    .await;
}

#[tokio::test]
async fn a_switch_loses_no_request() {
    switch_under_load("POST", Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_switch_to_which_the_former_process_does_not_wait_loses_no_get() {
    switch_under_load("GET", Duration::ZERO).await;
}

#[tokio::test]
async fn backends_share_the_work_and_stand_in_for_each_other() {
    world(async |world| {
        let (one, two) = (App::start("one").await, App::start("two").await);
        world.route("blog", &[one.address, two.address]);
        let mut client = world.client().await;
        let mut answers = Vec::new();
        for _ in 0..6 {
            answers.push(client.get("blog.localhost", "/").await.1);
        }
        assert_eq!(answers.iter().filter(|answer| *answer == "this is one").count(), 3);
        one.stop();
        for _ in 0..6 {
            let answer = client.ask("POST", "blog.localhost", "/", "").await;
            assert_eq!(answer, (StatusCode::OK, "this is two".to_owned()));
        }
    })
    .await;
}

#[tokio::test]
async fn an_app_appears_moves_and_vanishes() {
    world(async |world| {
        let (one, two) = (App::start("one").await, App::start("two").await);
        let mut client = world.client().await;
        let (status, _) = client.get("blog.localhost", "/").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        world.route("blog", &[one.address]);
        let (status, _) = client.get("blog.localhost", "/").await;
        assert_eq!(status, StatusCode::OK, "at once");
        let mut until = async |status: StatusCode, body: &str| loop {
            let (got, text) = client.get("blog.localhost", "/").await;
            if got == status && text.contains(body) {
                break;
            }
            sleep(Duration::from_millis(2)).await;
        };
        world.route("blog", &[two.address]);
        until(StatusCode::OK, "two").await;
        let routes = format!("/machines/{}/routes", keg::machine::name());
        let remove = keg::Txn::new("service/mayor", "test").remove(routes.parse().expect("a path"));
        world.keg.commit(remove).expect("it is there");
        until(StatusCode::NOT_FOUND, "no app blog").await;
    })
    .await;
}
