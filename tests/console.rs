//! The console in a real browser: sign in, watch an attack arrive, open it, approve an action, see it approved on the topic.

use cybervault_testkit::{eventually, topic::Record};
use serde_json::Value;

use crate::support::{
    self, Fleet, PATIENCE, attack,
    browser::Browser,
    gateway::{Api, Gateway, key},
    unlimited,
};

#[test]
fn an_analyst_signs_in_sees_an_attack_arrive_and_has_it_contained() {
    let Some(browser) = Browser::start(true) else { return };
    let fleet = Fleet::new("console", &unlimited(["acme", "globex"]));
    let playbooks = fleet.playbooks();
    let mut worker = fleet.worker("w1", &[&playbooks]);
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let (key_id, secret) = key(&fleet, "acme", &[]);

    // Whoever has no session is sent to sign in, and a wrong key does not help.
    browser.open(&format!("{}/approvals", gateway.base));
    assert!(browser.url().ends_with("/sign-in"));
    browser.find("#key").write("cv_live_sk_wrong");
    browser.find("button[type=submit]").follow();
    assert!(browser.find("[role=alert]").text().contains("not taken"));
    browser.find("#key").write(&secret);
    browser.find("button[type=submit]").follow();
    browser.find("#connection.on");
    assert_eq!(browser.run("return document.cookie"), "", "no script sees the session");
    browser.find("nav a[href='/findings']").follow();
    browser.find("#connection.on");
    assert!(browser.find("#empty").text().contains("Nothing found yet"));

    // It comes by itself, and what an attacker wrote is text.
    fleet.send([Record::new("acme", attack("e1", "ws-<b>7</b>").to_string())]);
    let row = browser.find("#feed tbody tr");
    assert!(row.text().contains("ws-<b>7</b>"), "{}", row.text());
    assert_eq!(browser.run("return document.querySelectorAll('#feed b').length"), 0);
    assert!(["high", "critical"].contains(&row.attribute("data-severity").unwrap().as_str()));

    eventually("its action is counted", PATIENCE, || {
        (browser.run("return document.getElementById('proposed').textContent") == "1").then_some(())
    });

    // Paused it waits; by the keyboard one comes to the finding.
    browser.find("#pause").click();
    fleet.send([Record::new("acme", attack("e2", "ws-8").to_string())]);
    eventually("one waits", PATIENCE, || browser.find("#pause").text().contains("Show 1 new").then_some(()));
    browser.find("#pause").click();
    eventually("two rows", PATIENCE, || {
        (browser.run("return document.querySelectorAll('#feed tbody tr').length") == 2).then_some(())
    });
    browser.run("document.activeElement.blur()");
    browser.press("jj\u{e007}");
    eventually("the finding", PATIENCE, || browser.url().contains("/findings/ta_").then_some(()));
    let why = browser.find(".evidence").text();
    assert!(why.contains("EncodedCommand"), "{why}");
    assert!(browser.find("main").text().contains("100 · (1 −"));

    // The playbook's action waits here and in the queue.
    eventually("the action waits", PATIENCE, || {
        browser.open(&browser.url());
        (browser.run("return document.querySelectorAll('.decide').length") == 1).then_some(())
    });
    browser.find("nav a[href='/approvals']").follow();
    let waiting = browser.find(".pending");
    let action_id = waiting.attribute("data-action").unwrap();
    browser.find(&format!(".pending[data-action='{action_id}'] .button")).follow();
    // Enter in a field decides nothing, and neither does another name.
    browser.find("input[name=comment]").write("seen it\u{e007}");
    browser.find("input[name=confirm]").write("ws-7\u{e007}");
    assert!(browser.url().contains("/approvals/review"));
    assert!(fleet.read("response.decisions").is_empty());
    browser.find("#decide").follow();
    assert!(browser.find("#problem").text().contains("ws-<b>7</b>"));
    assert!(fleet.read("response.decisions").is_empty());
    assert_eq!(browser.run("return document.querySelector('input[name=comment]').value"), "seen it");
    browser.find("input[name=confirm]").write("ws-<b>7</b>");
    browser.find("#decide").follow();
    browser.find("#news");
    worker.wait_until("approved on the topic", PATIENCE, || {
        fleet.read("response.actions").iter().any(|record| {
            let action: Value = serde_json::from_slice(&record.value).unwrap();
            action["action_id"] == *action_id
                && action["state"] == "approved"
                && action["decided_by"].as_str().unwrap().contains(&key_id)
        })
    });
    eventually("approved in the console", PATIENCE, || {
        browser.open(&format!("{}/approvals", gateway.base));
        let text = browser
            .run(&format!("return document.querySelector(\"#decided tr[data-action='{action_id}']\")?.innerText"));
        text.as_str().is_some_and(|text| text.contains("approved")).then_some(())
    });

    // Every page works, says something, and loads nothing that the policy forbids.
    for path in [
        "/attack",
        "/quota",
        "/pipeline",
        "/reports",
        "/reports?print",
        "/entities/host/ws-%3Cb%3E7%3C%2Fb%3E",
        "/",
        "/findings?severity=high&q=T1059.001",
    ] {
        browser.open(&format!("{}{path}", gateway.base));
        assert!(!browser.find("h1").text().is_empty(), "{path}");
        assert_eq!(
            browser.run(
                "return document.querySelectorAll('img:not([alt]), input:not([type=hidden]):not([aria-label])').length
            - document.querySelectorAll('label input:not([type=hidden])').length"
            ),
            0,
            "{path}: inputs have names"
        );
    }
    let complaints = browser.complaints();
    let unexpected: Vec<_> = complaints
        .iter()
        .filter(|said| !said.contains("401 (Unauthorized)") && !said.contains("422 (Unprocessable"))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");

    // A form without the session's token is refused; another tenant's finding is none.
    let finding = browser.run(
        "return fetch('/findings').then(page => page.text()).then(text => text.match(/findings\\/(ta_[0-9a-f]+)/)[1])",
    );
    let forged = browser.run(&format!("return fetch('/approvals/decide', {{method: 'POST', body: new URLSearchParams({{verdict: 'deny', action: '{action_id}'}})}}).then(answer => answer.status)"));
    assert_eq!(forged, 403);
    let (_, other) = key(&fleet, "globex", &["--kind", "read"]);
    browser.find("form[action='/sign-out'] button").follow();
    browser.find("#key").write(&other);
    browser.find("button[type=submit]").follow();
    browser.find("#connection.on");
    browser.open(&format!("{}/findings/{}", gateway.base, finding.as_str().unwrap()));
    assert!(browser.find("[role=alert]").text().contains("no such thing"));

    // A revoked key ends its sessions.
    let admin = Api::new(&gateway.base, &secret);
    let listed = Api::new(&gateway.base, &key(&fleet, "globex", &[]).1).get("/v3/keys").json();
    let reader = listed["data"].as_array().unwrap().iter().find(|key| key["kind"] == "read").unwrap()["key_id"].clone();
    assert_eq!(admin.call("DELETE", &format!("/v3/keys/{}", reader.as_str().unwrap()), &[], None).status, 404);
    let store = format!("gateway.store.file={}", fleet.path("gateway.db").display());
    assert!(fleet.command(&["keys", "revoke", reader.as_str().unwrap()], &[&store]).status.success());
    browser.open(&format!("{}/", gateway.base));
    assert!(browser.url().ends_with("/sign-in"));
}

/// A playbook that only says what it would do.
const DRY_RUN: &str = "
id: only-said
title: Only said
when: {min_severity: high}
actions: [{type: isolate_host, target: host}]
mode: dry_run
";

#[test]
fn several_actions_are_decided_on_with_one_comment_and_dry_runs_are_only_shown() {
    let Some(browser) = Browser::start(true) else { return };
    let fleet = Fleet::new("approvals", &unlimited(["acme"]));
    let playbooks = fleet.playbooks();
    std::fs::write(fleet.path("playbooks").join("only-said.yaml"), DRY_RUN).unwrap();
    let mut worker = fleet.worker("w1", &[&playbooks]);
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let (key_id, secret) = key(&fleet, "acme", &["--name", "kim"]);
    let api = Api::new(&gateway.base, &secret);
    fleet.send((0..5).map(|n| Record::new("acme", attack(&format!("e{n}"), &format!("ws-{n}")).to_string())));
    browser.open(&format!("{}/approvals", gateway.base));
    browser.find("#key").write(&secret);
    browser.find("button[type=submit]").follow();
    browser.find("#connection.on");
    let count = |css: &str| browser.run(&format!("return document.querySelectorAll(\"{css}\").length"));
    eventually("five that wait, five that are said", PATIENCE, || {
        browser.open(&format!("{}/approvals", gateway.base));
        (count(".pending") == 5 && count("#dry-runs tr") == 5).then_some(())
    });
    // What is only said is marked, and there is nothing to press; nor is it counted.
    assert!(browser.find("#dry-runs tr").text().contains("dry run"));
    assert_eq!(count("#dry-runs button, #dry-runs .button, #dry-runs input"), 0);
    assert_eq!(browser.run("return document.querySelector('.head p').textContent"), "5 waiting");
    browser.picture("approvals-list");
    let of_dry_run = browser.find("#dry-runs a").attribute("href").unwrap();
    browser.open(&format!("{}{of_dry_run}", gateway.base));
    browser.find("h1");
    assert_eq!(count(".decide"), 1, "of the two actions of this finding one waits");
    browser.open(&format!("{}/", gateway.base));
    assert_eq!(browser.find("#proposed").text(), "5");

    // All but one are denied with one comment.
    browser.open(&format!("{}/approvals", gateway.base));
    assert_eq!(count(".bar button:disabled"), 2, "nothing is selected");
    browser.find("#select-all input").click();
    browser.find(".pending input[name=action]").click();
    assert!(browser.find("#selected").text().contains("4 selected"));
    browser.picture("approvals-selected");
    browser.find(".bar button[value=deny]").follow();
    assert_eq!(count("#targets li"), 4);
    assert_eq!(count("input[name=confirm]"), 0);
    browser.find("input[name=comment]").write("planned work\u{e007}");
    assert!(browser.url().contains("/approvals/review"), "Enter decides nothing");
    browser.picture("approvals-review");
    browser.find("#decide").follow();
    browser.find("#news");
    eventually("what came of it", PATIENCE, || {
        (count("#news .state-denied") == 4 && count(".pending") == 1).then_some(())
    });
    browser.picture("approvals-news");
    worker.wait_until("denied on the topic", PATIENCE, || {
        let denied = fleet.read("response.actions").into_iter().filter(|record| {
            let action: Value = serde_json::from_slice(&record.value).unwrap();
            action["state"] == "denied"
                && action["reason"] == "planned work"
                && action["decided_by"].as_str().unwrap().contains(&key_id)
        });
        denied.count() == 4
    });

    // On a telephone: nothing is cut off, and whoever comes second is told who was first.
    browser.narrow(true);
    browser.open(&format!("{}/approvals", gateway.base));
    let fits = |what: &str| {
        assert_eq!(browser.run("return document.documentElement.scrollWidth"), 390, "{what} is wider than the page");
    };
    fits("the list");
    browser.picture("approvals-narrow");
    let last = browser.find(".pending").attribute("data-action").unwrap();
    browser.find(".pending .button").follow();
    let target = browser.find("#phrase").text();
    fits("the review");
    browser.picture("approvals-review-narrow");
    let (_, other) = key(&fleet, "acme", &["--name", "robin"]);
    let denied = Api::new(&gateway.base, &other)
        .post(&format!("/v3/response/actions/{last}/deny"), &serde_json::json!({"comment": "mine"}));
    assert!([200, 202].contains(&denied.status), "{}", denied.text);
    browser.find("input[name=confirm]").write(&target);
    browser.find("#decide").follow();
    eventually("who was first", PATIENCE, || {
        let text = browser.run("return document.querySelector('#news')?.innerText");
        let text = text.as_str()?.to_owned();
        (text.contains("robin (key_") && text.contains("was first")).then_some(())
    });
    fits("the news");
    browser.picture("approvals-news-narrow");
    assert_eq!(count(".pending"), 0);
    let action = api.get(&format!("/v3/response/actions/{last}")).json();
    assert_eq!((&action["action"]["state"], action["history"].as_array().unwrap().len()), (&Value::from("denied"), 2));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn an_incident_is_one_page_that_is_worked_on_by_keyboard_and_on_a_telephone() {
    let Some(browser) = Browser::start(true) else { return };
    let fleet = Fleet::new("incident-page", &unlimited(["acme"]));
    let playbooks = fleet.playbooks();
    let mut worker = fleet.worker("w1", &[&playbooks, "incidents.count_every_ms=1000"]);
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let (_, secret) = key(&fleet, "acme", &["--name", "kim"]);
    let api = Api::new(&gateway.base, &secret);
    browser.open(&format!("{}/", gateway.base));
    browser.find("#key").write(&secret);
    browser.find("button[type=submit]").follow();
    browser.find("#connection.on");
    assert!(browser.find("#empty").text().contains("No incident here"));
    // It comes by itself, and what an attacker wrote is text.
    let host = "ws-<i>7</i>-of-a-fleet-whose-names-have-no-place-to-break";
    for n in 0..3 {
        assert_eq!(api.post("/v3/threats/analyze", &attack(&format!("e{n}"), host)).status, 201);
    }
    let row = browser.find("#incidents > li").text();
    assert!(row.contains(host), "{row}");
    browser.picture("incidents-one");
    eventually("told again, it stands once and has all three", PATIENCE, || {
        let rows = browser.run("return Array.from(document.querySelectorAll('#incidents > li'), row => row.innerText)");
        let rows = rows.as_array()?.clone();
        (rows.len() == 1 && rows[0].as_str()?.contains("3 findings")).then_some(())
    });
    browser.run("document.activeElement.blur()");
    browser.press("j\u{e007}");
    eventually("the incident", PATIENCE, || browser.url().contains("/incidents/inc_").then_some(()));
    let page = browser.url();
    assert_eq!(browser.run("return document.querySelectorAll('main i').length"), 0);
    assert!(browser.find(".story").text().contains("×3"), "what repeats is one line");
    assert!(browser.find(".chain").text().contains("Execution"));
    assert!(browser.find(".drawing").text().contains("host"));
    // Words, each with a form of its own.
    browser.run("document.querySelector('select[name=status]').value = 'in_progress'");
    browser.find("#set-status").follow();
    assert!(browser.find("#said").text().contains("in progress"));
    browser.find("textarea[name=comment]").write("<script>alert(1)</script> looks real");
    browser.find("#comment").follow();
    assert!(browser.find("#said").text().contains("<script>alert(1)</script> looks real"));
    browser.find("input[name=assignee]").write("robin\u{e007}");
    eventually("assigned by Enter alone", PATIENCE, || {
        browser.find(".head").text().contains("with robin").then_some(())
    });
    worker.wait_until("all three are on the topic", PATIENCE, || fleet.read("incident.decisions").len() == 3);
    // An action is denied from here, and one comes back here.
    eventually("the action waits", PATIENCE, || {
        browser.open(&page);
        (browser.run("return document.querySelectorAll('.decide').length") == 1).then_some(())
    });
    browser.find(".decide .danger").follow();
    browser.find("#decide").follow();
    assert!(browser.url().starts_with(&page), "{}", browser.url());
    browser.find("#news");
    let fits = |what: &str| {
        assert_eq!(browser.run("return document.documentElement.scrollWidth"), 390, "{what} is wider than the page");
    };
    browser.narrow(true);
    for (path, what) in [(page.as_str(), "the incident"), (&format!("{}/", gateway.base), "the list")] {
        browser.open(path);
        browser.find("h1");
        browser.picture(&format!("{}-narrow", what.replace(' ', "-")));
        fits(what);
    }
    // A form without the session's token is refused.
    let forged = browser.run(&format!("return fetch('{page}/word', {{method: 'POST', body: new URLSearchParams({{type: 'status', status: 'closed'}})}}).then(answer => answer.status)"));
    assert_eq!(forged, 403);
    let unexpected: Vec<_> =
        browser.complaints().into_iter().filter(|said| !said.contains("403 (Forbidden)")).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

/// Browsers open six connections to a site by HTTP/1; each stream takes one.
#[test]
fn any_number_of_tabs_share_one_stream_and_end_together() {
    let Some(browser) = Browser::start(true) else { return };
    let fleet = Fleet::new("tabs", &unlimited(["acme"]));
    let gateway = Gateway::start(&fleet, "g1", &[]);
    let api = gateway.api(&key(&fleet, "acme", &[]).1);
    browser.open(&format!("{}/sign-in", gateway.base));
    browser.find("#key").write(&key(&fleet, "acme", &[]).1);
    browser.find("button[type=submit]").follow();
    browser.find("#connection.on");
    let tabs: Vec<String> = (0..7)
        .map(|_| {
            let tab = browser.tab();
            browser.open(&format!("{}/findings", gateway.base));
            browser.find("#connection.on");
            tab
        })
        .collect();
    let other = browser.tab();
    browser.open(&format!("{}/findings?q=another-host", gateway.base));
    browser.find("#connection.on");
    assert_eq!(Fleet::metric(&gateway.process, "cybervault_stream_clients", ""), 1.0);

    // All of them hear of a finding, each what it was asked for; what would turn text around is shown.
    let found = api.post("/v3/threats/analyze", &attack("e1", "ws-\u{202e}7"));
    assert_eq!(found.status, 201, "{}", found.text);
    for tab in &tabs {
        browser.turn_to(tab);
        let row = browser.find("#feed tbody tr").text();
        assert!(row.contains("ws-‹U+202E›7"), "{row}");
    }
    browser.turn_to(&other);
    assert_eq!(browser.run("return document.querySelectorAll('#feed tbody tr').length"), 0);
    // A tab that comes later has it from its page, and goes on from there.
    let late = browser.tab();
    browser.open(&format!("{}/findings", gateway.base));
    browser.find("#connection.on");
    assert_eq!(api.post("/v3/threats/analyze", &attack("e2", "ws-8")).status, 201);
    eventually("both, each once", PATIENCE, || {
        let rows = browser.run("return Array.from(document.querySelectorAll('#feed tbody tr'), row => row.dataset.id)");
        let rows = rows.as_array().unwrap();
        (rows.len() == 2 && rows[0] != rows[1]).then_some(())
    });
    assert_eq!(Fleet::metric(&gateway.process, "cybervault_stream_clients", ""), 1.0);

    // Signed out in one tab, the others say so by themselves.
    browser.find("form[action='/sign-out'] button").follow();
    browser.find("#key");
    for tab in tabs.iter().chain([&other]) {
        browser.turn_to(tab);
        eventually("signed out", PATIENCE, || browser.url().ends_with("/sign-in").then_some(()));
    }
    browser.turn_to(&late);
    eventually("nobody listens", PATIENCE, || {
        (Fleet::metric(&gateway.process, "cybervault_stream_clients", "") == 0.0).then_some(())
    });
}

/// The pictures in docs: of the samples, as `make run` plays them. Takes a minute, so only when asked for.
#[test]
fn the_console_looks_as_the_pictures_in_docs_show() {
    if std::env::var_os("CONSOLE_SCREENSHOTS").is_none() {
        eprintln!("SKIPPED: set CONSOLE_SCREENSHOTS to a folder to have the pictures of the console made");
        return;
    }
    let args = ["up", "--speed", "8", "--set", "metrics.listen=127.0.0.1:0", "--set", "gateway.listen=127.0.0.1:0"];
    let up = cybervault_testkit::Worker::start(support::BINARY, args, &[]);
    let (mut base, mut secret) = (String::new(), String::new());
    eventually("the console's address and a key", PATIENCE, || {
        let log = up.log();
        base = log.split_once("Console  ")?.1.split_once("/  ")?.0.to_owned();
        secret = log.split_once("acme-health")?.1.split_whitespace().next()?.to_owned();
        Some(())
    });
    for dark in [true, false] {
        let Some(browser) = Browser::start(dark) else { return };
        let theme = if dark { "dark" } else { "light" };
        browser.open(&format!("{base}/sign-in"));
        browser.picture(&format!("sign-in-{theme}"));
        browser.find("#key").write(&secret);
        browser.find("button[type=submit]").follow();
        browser.find("#connection.on");
        eventually("an attack has come far", PATIENCE, || {
            let most = "return Math.max(0, ...Array.from(document.querySelectorAll('#incidents .tactics'), one => one.children.length))";
            (browser.run(most).as_u64()? > 3).then_some(())
        });
        browser.picture(&format!("incidents-{theme}"));
        let story = browser.run(
            "return Array.from(document.querySelectorAll('#incidents > li')).sort((a, b) => b.querySelectorAll('.technique').length - a.querySelectorAll('.technique').length)[0].querySelector('a').getAttribute('href')",
        );
        browser.open(&format!("{base}{}", story.as_str().unwrap()));
        browser.find(".drawing");
        browser.picture(&format!("incident-{theme}"));
        browser.open(&format!("{base}/findings"));
        browser.find("#connection.on");
        eventually("much was found", PATIENCE, || {
            (browser.run("return document.querySelectorAll('#feed tbody tr').length").as_u64()? > 40).then_some(())
        });
        browser.picture(&format!("live-{theme}"));
        // At once: what repeats takes the place of the row before it.
        let link = |css: &str| browser.run(&format!("return document.querySelector('{css}').getAttribute('href')"));
        let row = link("#feed tbody tr[data-severity=critical] .title a").as_str().unwrap().to_owned();
        let entity = link("#feed tbody tr[data-severity=critical] a.entity").as_str().unwrap().to_owned();
        for (name, path) in [
            ("finding", &*row),
            ("entity", &*entity),
            ("attack", "/attack"),
            ("approvals", "/approvals"),
            ("pipeline", "/pipeline"),
            ("reports", "/reports"),
            ("quota", "/quota"),
        ] {
            browser.open(&format!("{base}{path}"));
            browser.find("h1");
            browser.picture(&format!("{name}-{theme}"));
        }
    }
}
