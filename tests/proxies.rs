//! Streams and requests through what stands before a gateway in the world: nginx and HAProxy as their packages set them up, TLS
//! with HTTP/2, and nothing but the lines that lead to the gateway added.
use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::Command,
};

use cybervault_testkit::{Worker, eventually};
use serde_json::{Value, json};

use crate::support::{
    self, Fleet, PATIENCE, attack,
    gateway::{Api, Gateway, key},
    unlimited,
};

/// As in Debian's nginx.conf, but for where its files lie: responses are buffered and packed, and upstream it speaks HTTP/1.0.
const NGINX: &str = "
worker_processes 1;
daemon off;
pid FOLDER/nginx.pid;
error_log stderr;
events { worker_connections 768; }
http {
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    access_log off;
    gzip on;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    server {
        listen PROXY;
        location / { proxy_pass http://GATEWAY; }
    }
}
";

/// As in Debian's haproxy.cfg, without what makes a service of it.
const HAPROXY: &str = "
defaults
    mode http
    option dontlognull
    timeout connect 5000
    timeout client 50000
    timeout server 50000
frontend front
    bind PROXY
    default_backend gateway
backend gateway
    server g1 GATEWAY
";

/// A proxy before `gateway`, and its address; `None`, and a line that says so, where it is not installed.
fn proxy(fleet: &Fleet, program: &str, config: &str, gateway: &str) -> Option<(Worker, String)> {
    if Command::new(program).arg("-v").output().is_err() {
        eprintln!("SKIPPED behind {program}: it is not installed; apt-get install {program}");
        return None;
    }
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let folder = fleet.path(program);
    fs::create_dir(&folder).unwrap();
    let file = folder.join("config");
    let folder = folder.display().to_string();
    let config = config.replace("FOLDER", &folder).replace("PROXY", &address);
    fs::write(&file, config.replace("GATEWAY", gateway.strip_prefix("http://").unwrap())).unwrap();
    let file = file.display().to_string();
    let args = match program {
        "nginx" => vec!["-e", "stderr", "-p", &*folder, "-c", &*file],
        _ => vec!["-db", "-f", &*file],
    };
    let mut process = Worker::start(program, args, &[]);
    eventually("the proxy listens", PATIENCE, || {
        assert!(process.exited().is_none(), "{program} has ended: {}", process.log());
        TcpStream::connect(&address).ok().map(drop)
    });
    Some((process, format!("http://{address}")))
}

#[test]
fn streams_and_requests_go_through_proxies_as_they_come() {
    let fleet = Fleet::new("proxies", &unlimited(["acme"]));
    let gateway = Gateway::start(&fleet, "g1", &[]);
    let (_, secret) = key(&fleet, "acme", &[]);
    for (program, config) in [("nginx", NGINX), ("haproxy", HAPROXY)] {
        let Some((_proxy, base)) = proxy(&fleet, program, config, &gateway.base) else { continue };
        let api = Api::new(&base, &secret);
        assert_eq!(api.get("/v3/system/health").json()["status"], "operational", "{program}");
        // A finding comes at once, and not when enough of them have gathered.
        let mut stream = api.stream(None);
        for n in 0..3 {
            let found = api.post("/v3/threats/analyze", &attack(&format!("{program}-{n}"), "ws-7"));
            assert_eq!(found.status, 201, "{program}: {}", found.text);
            let (_, kind, data) = stream.next().unwrap_or_else(|| panic!("{program}: the stream ended"));
            assert_eq!((kind.as_str(), &data), ("assessment", &found.json()), "{program}");
        }
        drop(stream);
        let refused = api.post("/v3/threats/analyze", &json!([]));
        assert_eq!((refused.status, refused.code()), (400, "invalid_event".to_owned()), "{program}");
        assert_eq!(Api::new(&base, "").get("/sign-in").status, 200, "{program}");
    }
}

#[test]
fn over_tls_http_2_and_http_1_are_spoken_and_said_to_be_kept_to() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED over HTTP/2: there is no curl; apt-get install curl");
        return;
    }
    let fleet = Fleet::new("http2", &unlimited(["acme"]));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (chain, own_key) = (fleet.path("chain.pem"), fleet.path("key.pem"));
    fs::write(&chain, made.cert.pem()).unwrap();
    fs::write(&own_key, made.signing_key.serialize_pem()).unwrap();
    let args = [
        "worker.instance=g1".to_owned(),
        "gateway.listen=127.0.0.1:0".to_owned(),
        format!("gateway.store.file={}", fleet.path("gateway.db").display()),
        format!("gateway.tls.certificate={}", chain.display()),
        format!("gateway.tls.key={}", own_key.display()),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut process = Worker::start(support::BINARY, fleet.args(&["gateway"], &args), &[]);
    let base = support::gateway::address(&mut process);
    let (_, secret) = key(&fleet, "acme", &[]);
    let bearer = format!("Authorization: Bearer {secret}");
    let curl = |more: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--cacert", chain.to_str().unwrap(), "--max-time", "120", "-H", &bearer]);
        let output = command.args(more).output().unwrap();
        assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let health = format!("{base}/v3/system/health");
    for (version, expected) in [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200 OK")] {
        let answer = curl(&["-i", version, &health]);
        assert!(answer.starts_with(expected), "{answer}");
        assert!(answer.to_lowercase().contains("strict-transport-security: max-age=31536000"), "{answer}");
    }
    let missing = curl(&["--http2", &format!("{base}/v3/nothing")]);
    let missing: Value = serde_json::from_str(&missing).unwrap();
    assert_eq!(missing["error"]["docs_url"], format!("{base}/docs/errors/not_found"));
    let two =
        curl(&["-i", "--http2", "-H", "Host: other.example", "--connect-to", &format!("::{}", &base[8..]), &health]);
    assert!(two.starts_with("HTTP/2 "), "{two}");

    // Many streams and requests on one connection; a finding comes at once.
    let stream = format!("{base}/v3/stream");
    let log = fleet.path("streamed");
    let mut listening = Command::new("curl");
    listening.args([
        "-sSN",
        "--http2",
        "-Z",
        "--parallel-immediate",
        "--cacert",
        chain.to_str().unwrap(),
        "-H",
        &bearer,
    ]);
    for n in 0..8 {
        listening.args(["-o", &format!("{}-{n}", log.display()), &stream]);
    }
    let mut listening = listening.spawn().unwrap();
    let heard = |n: usize| fs::read_to_string(format!("{}-{n}", log.display())).unwrap_or_default();
    eventually("all streams are open", PATIENCE, || (0..8).all(|n| heard(n).contains("listening")).then_some(()));
    let event = attack("h2", "ws-7").to_string();
    let json = "Content-Type: application/json";
    let found = curl(&["--http2", "-H", json, "-d", &event, &format!("{base}/v3/threats/analyze")]);
    assert!(found.contains("\"assessment_id\""), "{found}");
    eventually("all streams tell it", PATIENCE, || {
        (0..8).all(|n| heard(n).contains("event: assessment")).then_some(())
    });
    listening.kill().unwrap();
    listening.wait().unwrap();
}
