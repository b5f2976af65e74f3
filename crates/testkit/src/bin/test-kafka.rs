//! `test-kafka COMMAND …`: runs a command with a Kafka beside it, named in `KAFKA_BOOTSTRAP_SERVERS`, and stops the
//! broker afterwards. So one broker serves all suites of a `make test`.
//!
//! `KAFKA_VERSION` names another version of Kafka; with `KAFKA_SECURITY=sasl_ssl` the broker takes SCRAM over TLS only, and
//! the command finds the client's options in its environment.
#![forbid(unsafe_code)]
// It speaks to whoever runs the suites.
#![allow(clippy::print_stderr)]

use std::process::{Command, ExitCode};

use cybervault_testkit::Kafka;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(program) = args.next() else {
        eprintln!("usage: test-kafka COMMAND [ARGUMENT]…");
        return ExitCode::from(2);
    };
    let kafka = match Kafka::find() {
        Ok(kafka) => kafka,
        Err(error) => {
            eprintln!("no Kafka to test against: {error:#}");
            return ExitCode::from(2);
        }
    };
    eprintln!("Kafka on {}", kafka.bootstrap());
    match Command::new(&program).args(args).envs(kafka.environment()).status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("cannot run {}: {error}", program.display());
            ExitCode::from(2)
        }
    }
}
