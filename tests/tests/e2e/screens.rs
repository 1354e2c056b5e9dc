//! The web UI of a real Keg in headless Chromium, while things happen.

// The pages' own tests drive the same browser.
#[path = "../../../web/tests/support/browser.rs"]
#[allow(dead_code)]
mod browser;

use browser::Browser;
use keg_tests::{World, repo::told};
use serde_json::json;

/// Modules of the app: so many that compiling them can be watched.
const MODULES: usize = 300;

#[tokio::test]
async fn a_push_is_watched_and_explained_in_the_browser() {
    assert!(browser::installed(), "this test needs Chromium: apt-get install chromium");
    let world = World::with_python();
    let repo = world.probe("blog");
    let module = (0..200).map(|line| format!("def f{line}(x):\n    return x + {line}\n"));
    let module = module.collect::<String>();
    for number in 0..MODULES {
        repo.write(&format!("lib/m{number}.py"), &module);
    }
    repo.commit("Many modules");
    let mut tab = Browser::start().await;
    tab.look(1280, "light").await;

    // Home, opened before the push, comes to show it; its build is followed while it runs.
    tab.open(&format!("{}/", world.url)).await;
    let push = repo.start_push(&["keg", "main"]);
    tab.wait_for("!!document.querySelector('a[href^=\"/builds/\"]')").await;
    click(&mut tab, "a[href^=\"/builds/\"]", "location.pathname.startsWith('/builds/')").await;
    tab.wait_for("document.querySelector('.term').innerText.includes('Python app detected')").await;
    tab.wait_for("document.querySelector('h1 .pill').textContent === 'done'").await;
    tab.wait_for("document.querySelector('.term').innerText.includes('Built in')").await;
    told(push.wait()).ok();

    // Home, the process, and in two clicks from there the line.
    tab.open(&format!("{}/", world.url)).await;
    let process = "tbody a.kid[href^=\"/machines/\"]";
    click(&mut tab, process, "document.querySelector('h1').innerText.startsWith('blog web.0')")
        .await;
    let source = ".chain li:last-child a";
    click(&mut tab, source, "location.pathname.startsWith('/source/blog@K-')").await;
    let file = ".files a[href*=\"app.py@K-\"]";
    click(&mut tab, file, "!!document.getElementById('L20')").await;
    click(&mut tab, "#L20 a", "location.hash === '#L20'").await;
    let text = tab.eval("document.body.innerText").await;
    let text = text.as_str().unwrap_or_default().to_owned();
    assert!(text.contains("WORD = \"one\""), "{text}");

    // Every page that these link to is there, and fits a telephone.
    tab.look(390, "dark").await;
    let mut seen = vec!["/".to_owned()];
    let mut next = 0;
    while next < seen.len().min(40) {
        tab.open(&format!("{}{}", world.url, seen[next])).await;
        let wide = tab.eval("document.documentElement.scrollWidth").await;
        assert!(wide.as_u64() <= Some(390), "{} is {wide} wide", seen[next]);
        let links = tab.eval(LINKS).await;
        for link in links.as_array().into_iter().flatten().filter_map(|link| link.as_str()) {
            if !seen.iter().any(|path| path == link) {
                seen.push(link.to_owned());
            }
        }
        next += 1;
    }
    for path in seen.iter().take(200) {
        let status = world.page(path).status;
        assert!((200..400).contains(&status), "{path}: {status}");
    }
    assert!(tab.complaints.is_empty(), "{:?}", tab.complaints);
}

/// The page's links within the Keg, without their anchors.
const LINKS: &str = "[...new Set([...document.querySelectorAll('a[href]')]\
    .filter(a => a.origin === location.origin).map(a => a.pathname + a.search))]";

async fn click(tab: &mut Browser, what: &str, arrived: &str) {
    tab.wait_for(&format!("!!document.querySelector({})", json!(what))).await;
    tab.eval(&format!("document.querySelector({}).click()", json!(what))).await;
    tab.wait_for(&format!("document.readyState === 'complete' && ({arrived})")).await;
}
