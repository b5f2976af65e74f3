//! `cybervault health`: whether the process on this machine is alive, for supervisors without a web client.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Context;

use super::Answer;
use crate::{cli::HealthArgs, config::Config};

/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(3);
/// More than any answer has.
const MAX_ANSWER: u64 = 64 * 1024;

pub(super) fn run(args: &HealthArgs, config: &Config) -> anyhow::Result<Answer> {
    let address = reachable(config.metrics.listen);
    let path = if args.ready { "/readyz" } else { "/livez" };
    let answer = ask(address, path).with_context(|| format!("no answer from http://{address}{path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    print(body)?;
    Ok(Answer::from_fine(head.split(' ').nth(1) == Some("200")))
}

/// Who listens everywhere is reached on this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    // 1.0: the server closes when it is done.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

fn print(body: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(body.as_bytes())?;
    out.flush()
}
