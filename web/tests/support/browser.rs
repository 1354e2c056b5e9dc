//! A headless Chromium, driven over a pipe by its DevTools protocol.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

const PROGRAM: &str = "/usr/bin/chromium";
/// The descriptors 3 and 4 are the protocol's.
const START: &str = "exec \"$0\" --headless --no-sandbox --disable-gpu --remote-debugging-pipe \
                     --no-first-run --disable-extensions --user-data-dir=\"$1\" about:blank \
                     3<&0 4>&1 </dev/null >/dev/null 2>/dev/null";

/// Whether there is a browser to test with.
pub fn installed() -> bool {
    Path::new(PROGRAM).exists()
}

/// A browser with one tab.
pub struct Browser {
    _child: Child,
    _profile: TempDir,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: String,
    number: u64,
    /// What pages complained of: refused by the policy, exceptions.
    pub complaints: Vec<String>,
}

impl Browser {
    pub async fn start() -> Self {
        let profile = TempDir::new().expect("a directory");
        let mut child = Command::new("sh")
            .args(["-c", START, PROGRAM])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        let mut browser = Self {
            _child: child,
            _profile: profile,
            to,
            from,
            session: String::new(),
            number: 0,
            complaints: Vec::new(),
        };
        let tab = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let target = json!({ "targetId": tab["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", target).await;
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({})).await;
        }
        browser
    }

    /// Calls a method that must succeed; complaints that come meanwhile are kept.
    pub async fn call(&mut self, method: &str, params: Json) -> Json {
        self.try_call(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The result, or the protocol's error.
    async fn try_call(&mut self, method: &str, params: Json) -> Result<Json, Json> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).await.expect("it listens");
        loop {
            let answer = self.read().await;
            if answer["id"] == self.number {
                let error = answer.get("error").cloned();
                return error.map_or_else(|| Ok(answer["result"].clone()), Err);
            }
        }
    }

    async fn read(&mut self) -> Json {
        let mut bytes = Vec::new();
        let read = self.from.read_until(0, &mut bytes);
        let read = tokio::time::timeout(Duration::from_secs(30), read).await;
        read.expect("the browser answers in time").expect("the browser lives");
        bytes.pop();
        let message: Json = serde_json::from_slice(&bytes).expect("JSON");
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(params.to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push(params["entry"].to_string());
            }
            _ => {}
        }
        message
    }

    /// Goes to an address and waits until the page is there.
    pub async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")
            .await;
    }

    /// The value of an expression in the page.
    pub async fn eval(&mut self, script: &str) -> Json {
        self.try_eval(script).await.unwrap_or_else(|| panic!("{script}: the page was left"))
    }

    /// The value of an expression; none if the page was left before the answer, as it may be by
    /// what the expression does.
    pub async fn try_eval(&mut self, script: &str) -> Option<Json> {
        let params = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let answer = match self.try_call("Runtime.evaluate", params).await {
            Ok(answer) => answer,
            Err(error) if error["message"] == "Inspected target navigated or closed" => {
                return None;
            }
            Err(error) => panic!("{script}: {error}"),
        };
        assert!(answer.get("exceptionDetails").is_none(), "{script}: {answer}");
        Some(answer["result"]["value"].clone())
    }

    /// Waits until an expression is true, on whatever page is there by then.
    pub async fn wait_for(&mut self, script: &str) {
        for _ in 0..200 {
            if self.try_eval(script).await == Some(Json::Bool(true)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never true: {script}; the page: {}", self.eval("document.body.innerText").await);
    }

    /// The width of the window in CSS pixels, and the colours that the person prefers.
    pub async fn look(&mut self, width: u32, scheme: &str) {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media).await;
    }
}
