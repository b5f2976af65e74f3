//! A real Chromium, driven by the WebDriver protocol.

use std::{fs, net::TcpListener, path::Path, process::Command};

use cybervault_testkit::{PATIENCE, Worker, eventually};
use serde_json::{Value, json};

/// WebDriver's name for a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub(crate) struct Browser {
    _driver: Worker,
    agent: ureq::Agent,
    session: String,
}

impl Browser {
    /// Starts one; `None`, and a line on stderr that says so, where there is no Chromium with its driver.
    pub(crate) fn start(is_dark: bool) -> Option<Self> {
        if Command::new("chromedriver").arg("--version").output().is_err() {
            eprintln!("SKIPPED in a browser: there is none; apt-get install chromium chromium-driver");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let driver = Worker::start("chromedriver", [format!("--port={port}")], &[]);
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let agent: ureq::Agent = config.build().into();
        let base = format!("http://127.0.0.1:{port}");
        eventually("the driver", PATIENCE, || agent.get(format!("{base}/status")).call().ok().map(drop));
        let scheme = if is_dark { "dark" } else { "light" };
        let options = json!({"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--window-size=1440,960", "--force-device-scale-factor=1", "--hide-scrollbars",
            format!("--blink-settings=preferredColorScheme={}", u8::from(!is_dark))]});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"}}}});
        let mut browser = Self { _driver: driver, agent, session: format!("{base}/session") };
        let created = browser.post("", &wanted);
        let id = created["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {created}"));
        browser.session = format!("{base}/session/{id}");
        browser.post(
            "/goog/cdp/execute",
            &json!({"cmd": "Emulation.setEmulatedMedia",
            "params": {"features": [{"name": "prefers-color-scheme", "value": scheme}]}}),
        );
        Some(browser)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let sent = self.agent.post(format!("{}{path}", self.session)).content_type("application/json");
        let text = sent.send(body.to_string()).unwrap().into_body().read_to_string().unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["value"].take()
    }

    fn get(&self, path: &str) -> Value {
        let text =
            self.agent.get(format!("{}{path}", self.session)).call().unwrap().into_body().read_to_string().unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["value"].take()
    }

    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Opens another tab, and goes on in it; returns what it is called.
    pub(crate) fn tab(&self) -> String {
        let tab = self.post("/window/new", &json!({"type": "tab"}))["handle"].as_str().unwrap().to_owned();
        self.turn_to(&tab);
        tab
    }

    /// Goes on in a tab that is open.
    pub(crate) fn turn_to(&self, tab: &str) {
        self.post("/window", &json!({ "handle": tab }));
    }

    pub(crate) fn url(&self) -> String {
        self.get("/url").as_str().unwrap().to_owned()
    }

    /// The first element that `css` selects, once there is one.
    pub(crate) fn find(&self, css: &str) -> Element<'_> {
        eventually(&format!("{css} on {}", self.url()), PATIENCE, || {
            let found = self.post("/element", &json!({"using": "css selector", "value": css}));
            Some(Element { browser: self, id: found[ELEMENT].as_str()?.to_owned() })
        })
    }

    /// What a script returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Makes the page as wide as a telephone, or as it was.
    pub(crate) fn narrow(&self, is_narrow: bool) {
        let (cmd, params) = if is_narrow {
            let size = json!({"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true});
            ("Emulation.setDeviceMetricsOverride", size)
        } else {
            ("Emulation.clearDeviceMetricsOverride", json!({}))
        };
        self.post("/goog/cdp/execute", &json!({"cmd": cmd, "params": params}));
    }

    /// Presses keys where the focus is.
    pub(crate) fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({"type": "keyDown", "value": key.to_string()}),
                    json!({"type": "keyUp", "value": key.to_string()}),
                ]
            })
            .collect();
        self.post("/actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}));
    }

    /// What the browser complained about: a script that failed, something that the policy forbade.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({"type": "browser"}));
        let entries = log.as_array().cloned().unwrap_or_default();
        let serious = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        serious.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Keeps a picture of the page, where `CONSOLE_SCREENSHOTS` names a folder for it.
    pub(crate) fn picture(&self, name: &str) {
        use base64::Engine;
        let Some(folder) = std::env::var_os("CONSOLE_SCREENSHOTS") else { return };
        let picture = self.get("/screenshot");
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap();
        fs::create_dir_all(&folder).unwrap();
        fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
    }
}

pub(crate) struct Element<'b> {
    browser: &'b Browser,
    id: String,
}

impl Element<'_> {
    pub(crate) fn click(&self) {
        let clicked = self.browser.post(&format!("/element/{}/click", self.id), &json!({}));
        assert!(clicked.is_null(), "can't be clicked: {clicked}");
    }

    /// Clicks on what leads to another page, and waits until that is there: the driver may answer before it is.
    pub(crate) fn follow(&self) {
        self.browser.run("window.isLeft = true");
        self.click();
        eventually("the next page", PATIENCE, || {
            (self.browser.run("return !window.isLeft && document.readyState === 'complete'") == true).then_some(())
        });
    }

    pub(crate) fn write(&self, text: &str) {
        self.browser.post(&format!("/element/{}/value", self.id), &json!({ "text": text }));
    }

    pub(crate) fn text(&self) -> String {
        self.browser.get(&format!("/element/{}/text", self.id)).as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        self.browser.get(&format!("/element/{}/attribute/{name}", self.id)).as_str().map(str::to_owned)
    }
}
