//! A browser that is worked by hand: keys are pressed, and the page is asked what it shows.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// One page in a browser of its own, over the protocol of its developer tools.
pub(crate) struct Browser {
    process: Child,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    calls: u64,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser {
    /// Starts a browser with an empty page.
    pub(crate) async fn start() -> Browser {
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-extensions", "--host-resolver-rules=MAP box.lan 127.0.0.1"])
            .args(["--remote-debugging-port=0", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("chromium is not installed: apt-get install chromium");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let at = lines.find_map(|line| Some(line.split_once("ws://")?.1.split('/').next()?.to_owned())).unwrap();
        // What it says from now on would fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let tabs = crate::pages::client().get(format!("http://{at}/json")).send().await.unwrap().text().await.unwrap();
        let tabs: Value = serde_json::from_str(&tabs).unwrap();
        let page = tabs.as_array().unwrap().iter().find(|tab| tab["type"] == "page").unwrap();
        let url = page["webSocketDebuggerUrl"].as_str().unwrap();
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Browser { process, socket, calls: 0, _profile: profile }
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let text = json!({"id": self.calls, "method": method, "params": params}).to_string();
        self.socket.send(Message::text(text)).await.unwrap();
        loop {
            let message = self.socket.next().await.unwrap().unwrap();
            let answer: Value = serde_json::from_str(message.to_text().unwrap()).unwrap_or_default();
            if answer["id"] == self.calls {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Makes the window so large, as that of a phone if it is narrow.
    pub(crate) async fn resize(&mut self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Opens a page and waits for it.
    pub(crate) async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
        self.wait_for(&format!("location.href === {url:?} && document.readyState === 'complete'")).await;
    }

    /// Returns what an expression of the page's language gives.
    pub(crate) async fn ask(&mut self, script: &str) -> Value {
        let asked = self.call("Runtime.evaluate", json!({"expression": script, "returnByValue": true})).await;
        assert!(asked.get("exceptionDetails").is_none(), "{script}: {asked}");
        asked["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) async fn wait_for(&mut self, script: &str) {
        for _ in 0..200 {
            if self.ask(script).await == Value::Bool(true) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let shown = self.ask("document.body.innerText").await;
        panic!("{script} never came true on {shown}");
    }

    /// Lets no page run script from the next one on; what the test asks still runs.
    pub(crate) async fn forbid_script(&mut self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    }

    /// Puts a text in at once, as an input method does.
    pub(crate) async fn insert(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Types a text.
    pub(crate) async fn write(&mut self, text: &str) {
        for letter in text.chars() {
            self.call("Input.dispatchKeyEvent", json!({"type": "char", "text": letter.to_string()})).await;
        }
    }

    /// Presses a key.
    pub(crate) async fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            " " | "c" | "j" | "k" | "x" => u32::from(key.as_bytes()[0].to_ascii_uppercase()),
            other => panic!("{other} is no key known here"),
        };
        let mut event = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code});
        if key == "Enter" {
            event["text"] = "\r".into();
        } else if key.len() == 1 {
            event["text"] = key.into();
        }
        self.call("Input.dispatchKeyEvent", event.clone()).await;
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event).await;
    }
}
