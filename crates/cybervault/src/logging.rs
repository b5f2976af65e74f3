//! The log: on stderr, so that stdout is data only.

mod limit;

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use self::limit::{Limit, Limited};

use crate::config::{ConfigError, Log, LogFormat};

/// Begins to log.
///
/// # Errors
/// When the level is no filter.
pub(crate) fn start(log: &Log) -> Result<(), ConfigError> {
    // The reader of Windows event logs tells more of itself than anyone asks for who scores a file.
    let directives = format!("evtx=warn,{}", log.level);
    let filter = EnvFilter::builder().parse(directives).map_err(|error| ConfigError::Value {
        origin: "configuration".to_owned(),
        key: "log.level".to_owned(),
        problem: error.to_string(),
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(io::stderr);
    match log.format {
        LogFormat::Json => registry.with(Limited::new(layer.json().flatten_event(true), Limit::default())).init(),
        LogFormat::Text => {
            registry.with(Limited::new(layer.with_ansi(wants_color(&io::stderr())), Limit::default())).init();
        }
    }
    Ok(())
}

/// Whether `stream` is a terminal whose user has not asked for no colours (<https://no-color.org>).
pub(crate) fn wants_color(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && stream.is_terminal()
}
