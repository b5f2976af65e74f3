//! The matcher beside `rsigma-eval`, and what an event costs over the number of rules and its size:
//! `compare RULES_DIR EVENTS.ndjson FOLDER`.
//!
//! Prints what was found as JSON, and draws the two curves into the folder. `make bench` runs it.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod beside;
mod curves;
mod events;
mod ours;
mod peer;
mod plot;
mod rules;
mod turns;

use std::{env, fs, path::Path};

use serde_json::json;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [rules, events, folder] = &arguments[..] else {
        return Err("usage: compare RULES_DIR EVENTS.ndjson FOLDER".into());
    };
    let files = rules::read(Path::new(rules))?;
    let text = fs::read_to_string(events)?;
    let lines = events::of(&text);
    if files.is_empty() || lines.is_empty() {
        return Err(format!("{rules} has {} rule files, {events} has {} events", files.len(), lines.len()).into());
    }

    let beside = beside::compare(&files, &lines)?;
    let over_rules = curves::over_rules(&files, &lines)?;
    let over_size = curves::over_size(&files, &lines);
    over_rules.draw(&Path::new(folder).join("cost-over-rules.svg"))?;
    over_size.draw(&Path::new(folder).join("cost-over-size.svg"))?;
    println!(
        "{}",
        json!({
            "events": lines.len(),
            "bytes": events::bytes(&lines),
            "beside": beside,
            "over_rules": over_rules.points,
            "over_size": over_size.points,
        })
    );
    Ok(())
}
