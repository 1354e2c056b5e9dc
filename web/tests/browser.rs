//! The pages in Chromium: live updates, clicks, widths, contrast. Skipped, loudly, without it.

mod support;

#[path = "support/browser.rs"]
mod browser;

use browser::Browser;
use keg::{NamePath, Txn};
use serde_json::{Value as Json, json};
use support::World;

/// Starts both, or says that there is no browser.
async fn start() -> Option<(World, Browser)> {
    if !browser::installed() {
        eprintln!("SKIPPED: chromium is not installed");
        return None;
    }
    Some((World::new().await, Browser::start().await))
}

fn pages(world: &World) -> Vec<String> {
    let filled = &world.filled;
    let machine = support::fixture::MACHINE;
    [
        "/".to_owned(),
        "/apps/blog".to_owned(),
        "/apps/shop".to_owned(),
        format!("/oci-images/blog@{}", filled.release),
        format!("/builds/{}", filled.build),
        format!("/builds/{}", filled.running_build),
        format!("/machines/{machine}"),
        format!("/machines/{machine}/processes/{}", filled.process_id),
        "/source/blog".to_owned(),
        format!("/source/blog/app.py@{}", filled.source),
        "/source/blog/README.md".to_owned(),
        "/source/blog/static/logo.svg".to_owned(),
        "/packages/locks/a1b2c3d4e5f60718".to_owned(),
        "/packages/debian/trixie/pool/libc6_2.41-12_amd64".to_owned(),
        "/packages".to_owned(),
        "/packages/requests".to_owned(),
        "/builds".to_owned(),
        "/deploys".to_owned(),
        "/oci-images/blog?log".to_owned(),
        "/apps/blog?log".to_owned(),
        "/deploys/blog.json".to_owned(),
        "/-/search?q=o".to_owned(),
        "/nothing/here".to_owned(),
    ]
    .to_vec()
}

#[tokio::test]
async fn a_build_log_grows_and_the_page_follows_its_end() {
    let Some((world, mut tab)) = start().await else { return };
    let filled = &world.filled;
    let base = format!("http://{}", world.address);
    tab.open(&format!("{base}/builds/{}", filled.running_build)).await;
    assert_eq!(tab.eval("document.querySelectorAll('.term .l').length").await, 2);
    let mut log = world.keg.streams().create(&filled.running_stream).expect("open");
    log.line("-----> Live <b>now</b>").expect("written");
    tab.wait_for("document.querySelectorAll('.term .l').length === 3").await;
    let last = tab.eval("[...document.querySelectorAll('.term .l')].pop().outerHTML").await;
    assert_eq!(last, "<span class=\"l step\">-----&gt; Live &lt;b&gt;now&lt;/b&gt;\n</span>");
    // A log that is longer than its box is followed at its end, unless one reads further up; a
    // change of the page around it leaves that as it is.
    for at in 0..200 {
        log.line(&format!("       line {at}")).expect("written");
    }
    let path: NamePath =
        format!("/builds/{}/build.json", filled.running_build).parse().expect("a path");
    let left = "(p => p.scrollHeight - p.scrollTop - p.clientHeight)\
                (document.querySelector('.term pre'))";
    tab.wait_for("document.querySelectorAll('.term .l').length === 203").await;
    tab.wait_for(&format!("{left} < 2")).await;
    for (scroll, kept) in
        [("", format!("{left} < 2")), ("p.scrollTop = 40", "p.scrollTop === 40".into())]
    {
        let pre = "const p = document.querySelector('.term pre');";
        tab.eval(&format!("(() => {{ {pre} {scroll} }})()")).await;
        let pack = format!("python{}", kept.len());
        let mut build = world.keg.get_json(&path).expect("read").expect("there");
        build["inputs"]["pack_name"] = pack.clone().into();
        let txn = Txn::new("service/builder", "detected").set_json(path.clone(), build);
        world.keg.commit(txn).expect("committed");
        let shown = format!("document.querySelector('.lead').textContent.includes('{pack}')");
        tab.wait_for(&shown).await;
        assert_eq!(tab.eval(&format!("(() => {{ {pre} return {kept} }})()")).await, true, "{kept}");
    }
    // The build ends: the document says so, the stream is sealed, the page shows both.
    let mut build = world.keg.get_json(&path).expect("read").expect("there");
    build["state"] = "done".into();
    let entry = world.keg.streams().seal(&filled.running_stream).expect("sealed");
    let blob: NamePath = format!("/builds/{}/log", filled.running_build).parse().expect("a path");
    let txn = Txn::new("service/builder", "done").set_json(path, build).set(blob, entry);
    world.keg.commit(txn).expect("committed");
    tab.wait_for("document.querySelector('h1 .pill').textContent === 'done'").await;
    tab.wait_for("!document.querySelector('[data-stream]')").await;
    let lines = tab.eval("document.querySelectorAll('.term .l').length").await;
    assert_eq!(lines, 203, "no line twice");
    assert!(tab.complaints.is_empty(), "{:?}", tab.complaints);
}

#[tokio::test]
async fn home_shows_a_new_state_without_a_reload() {
    let Some((world, mut tab)) = start().await else { return };
    tab.open(&format!("http://{}/", world.address)).await;
    tab.eval("window.mark = 1").await;
    let path: NamePath = "/deploys/atlas.json".parse().expect("a path");
    let mut deploy = world.keg.get_json(&path).expect("read").expect("there");
    deploy["state"] = "failed".into();
    world
        .keg
        .commit(Txn::new("service/builder", "failed").set_json(path, deploy))
        .expect("committed");
    tab.wait_for(
        "[...document.querySelectorAll('.card')].some(c => c.innerText.includes('atlas') \
                  && c.innerText.includes('build failed'))",
    )
    .await;
    assert_eq!(tab.eval("window.mark").await, 1, "the page was not loaded anew");
    assert!(tab.complaints.is_empty(), "{:?}", tab.complaints);
}

#[tokio::test]
async fn clicks_lead_from_home_to_the_line() {
    let Some((world, mut tab)) = start().await else { return };
    tab.open(&format!("http://{}/", world.address)).await;
    for (link, arrived) in [
        (
            "tbody a.kid[href^=\"/machines/\"]",
            "document.querySelector('h1').innerText.startsWith('blog web.0')",
        ),
        (".chain li:last-child a", "location.pathname.startsWith('/source/blog@K-')"),
        (".files a[href*=\"app.py@K-\"]", "!!document.getElementById('L14')"),
        ("#L14 a", "location.hash === '#L14'"),
    ] {
        tab.try_eval(&format!("document.querySelector({}).click()", json!(link))).await;
        tab.wait_for(&format!("document.readyState === 'complete' && ({arrived})")).await;
    }
    let line = tab.eval("document.querySelector(':target span').innerText").await;
    assert!(line.as_str().is_some_and(|line| line.contains("request.args.get")), "{line}");
    // Without JavaScript the search is a form like any other.
    tab.try_eval(
        "document.getElementById('q').value = '4242'; document.querySelector('.search').submit()",
    )
    .await;
    tab.wait_for("location.pathname.startsWith('/machines/')").await;
    assert!(tab.complaints.is_empty(), "{:?}", tab.complaints);
}

/// Texts whose contrast with what is behind them is below what WCAG asks: 4.5, or 3 for large.
const CONTRAST: &str = r#"(() => {
  const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return c.startsWith('color(srgb')
    ? [m[0]*255, m[1]*255, m[2]*255, m[3] ?? 1] : [m[0], m[1], m[2], m[3] ?? 1]; };
  const light = ([r, g, b]) => { const f = (v) => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; }
    return parse(getComputedStyle(document.body).backgroundColor); };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest('.unseen, .skip, svg, noscript') || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), size = parseFloat(style.fontSize);
    const [a, b] = [light(parse(style.color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      bad.push([e.tagName, e.className, ratio.toFixed(2), e.textContent.slice(0, 30)].join(' '));
    }
  }
  return bad.slice(0, 10);
})()"#;

#[tokio::test]
async fn pages_fit_are_legible_and_complain_of_nothing() {
    let Some((world, mut tab)) = start().await else { return };
    let mut bad = Vec::new();
    for (width, scheme) in [(1280, "light"), (390, "dark"), (1280, "dark"), (390, "light")] {
        tab.look(width, scheme).await;
        for page in pages(&world) {
            tab.open(&format!("http://{}{page}", world.address)).await;
            let wide = tab.eval("document.documentElement.scrollWidth").await;
            if wide.as_u64() > Some(u64::from(width)) {
                bad.push(format!("{page} is {wide} wide at {width}"));
            }
            match tab.eval(CONTRAST).await {
                Json::Array(found) if found.is_empty() => {}
                found => bad.push(format!("{page} {scheme}: {found}")),
            }
        }
    }
    let ignored = "404 (Not Found)";
    bad.extend(tab.complaints.iter().filter(|c| !c.contains(ignored)).cloned());
    assert!(bad.is_empty(), "{bad:#?}");
}
