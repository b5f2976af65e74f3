//! The command line, as it is typed.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use cybervault_gateway::Scope;
use cybervault_sigma::Routing;

use crate::config::{LogFormat, Role};

/// Detects attacks in the telemetry of many tenants, streamed over Kafka.
#[derive(Debug, Parser)]
#[command(name = "cybervault", version, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 fine, 1 the answer is no, 2 usage or configuration.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The configuration, one YAML file.
    #[arg(long, global = true, env = "CYBERVAULT_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key of the configuration: `--set batch.max_records=5000`. Goes before environment and file.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The form of the log on stderr.
    #[arg(long, global = true, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged: `info`, `debug`, or a filter such as `info,cybervault_stream=debug`.
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log_level: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process, with sample telemetry and a live feed: to try out.
    Up(UpArgs),
    /// Workers against a Kafka.
    Run(RunArgs),
    /// REST API and console.
    Gateway(GatewayArgs),
    /// Issues and revokes API keys, in the gateway's store.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Scores events from files, without Kafka: one line of JSON out for each with findings.
    Score(ScoreArgs),
    /// Checks and tests detection rules.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Checks lists of indicators.
    #[command(subcommand)]
    Indicators(IndicatorsCommand),
    /// Creates and compares the topics.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Checks a tenants file.
    #[command(subcommand)]
    Tenants(TenantsCommand),
    /// Prints a topic's records as they come.
    Tail(TailArgs),
    /// Sends dead letters back to where they came from.
    Replay(ReplayArgs),
    /// Shows dead letters, and fetches what they came of.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Steps over a record that a stage can't get past. Its workers must be stopped.
    Skip(SkipArgs),
    /// Assesses events again from a time on, beside the fleet, and writes what is not there yet.
    Reprocess(ReprocessArgs),
    /// Shows and checks the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Looks at configuration, brokers, topics, permissions and clocks, and says what to change.
    Doctor(DoctorArgs),
    /// Tells whether the process on this machine is alive.
    Health(HealthArgs),
    /// Measures how fast it is.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Prints a shell's completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Writes the manual's pages.
    #[command(hide = true)]
    Man {
        /// Where to.
        folder: PathBuf,
    },
}

/// Arguments of `up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Ends after the samples' summary.
    #[arg(long)]
    pub(crate) once: bool,
    /// Plays the samples so many times as fast.
    #[arg(long, default_value_t = 1.0, value_name = "N")]
    pub(crate) speed: f64,
    /// Uses this Kafka instead of the embedded broker.
    #[arg(long, value_name = "HOSTS")]
    pub(crate) bootstrap: Option<String>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Which stages this process works on.
    #[arg(long = "role", value_delimiter = ',', value_enum, value_name = "ROLES")]
    pub(crate) roles: Vec<Role>,
    /// The Kafka to work on, `kafka.bootstrap` in the configuration.
    #[arg(long, value_name = "HOSTS")]
    pub(crate) bootstrap: Option<String>,
}

/// Arguments of `gateway`.
#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    #[command(subcommand)]
    pub(crate) command: Option<GatewayCommand>,
    /// The Kafka to work on, `kafka.bootstrap` in the configuration.
    #[arg(long, value_name = "HOSTS")]
    pub(crate) bootstrap: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Empties what was gathered from the topics, so that the gateway gathers it anew. Keys stay.
    Rebuild,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Issues a key, and shows it this once.
    Issue {
        /// Whose.
        #[arg(long, value_name = "ID")]
        tenant: String,
        /// Which data it opens.
        #[arg(long, value_enum, default_value_t = KeyKindArg::Live)]
        kind: KeyKindArg,
        /// What people call it.
        #[arg(long, default_value = "issued by hand")]
        name: String,
        /// What it may be used for; without it, all that its kind can have.
        #[arg(long, value_delimiter = ',', value_name = "SCOPES")]
        scopes: Vec<Scope>,
        /// How long it is taken: `90d`, `12h`. For ever, without it.
        #[arg(long, value_name = "PERIOD")]
        expires_in: Option<String>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Issues a key like another one, which is taken for a while yet.
    Rotate {
        /// `key_…`
        key_id: String,
        /// How long the old one is taken beside the new one.
        #[arg(long, default_value = "24h", value_name = "PERIOD")]
        overlap: String,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Revokes a key: within a second no replica takes it.
    Revoke {
        /// `key_…`
        key_id: String,
    },
    /// Lists keys, never in clear.
    List {
        /// Only this tenant's.
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// Which data a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyKindArg {
    /// Production.
    Live,
    /// The sandbox.
    Test,
    /// Production, reading only.
    Read,
}

/// Arguments of `score`.
#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// Files, folders or patterns of logs: JSON in any form, Windows event logs, XML, syslog, CEF, LEEF, CSV, also packed by gzip or
    /// zstd; `-` or none is standard input. See docs/inputs.md.
    #[arg(value_name = "FILES")]
    pub(crate) files: Vec<PathBuf>,
    /// Ends with an exit of 1 if events are of no known log source, too, not only if some can't be read.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Rules instead of the configured ones.
    #[arg(long, value_name = "DIR")]
    pub(crate) rules: Option<PathBuf>,
    /// Pipelines for the rules instead of the configured ones, files or folders; may be given several times.
    #[arg(long = "pipeline", value_name = "FILE")]
    pub(crate) pipelines: Vec<PathBuf>,
    /// Lists of indicators instead of the configured ones, also `.gz` and `.zst`; may be given several times.
    #[arg(long = "indicators", value_name = "FILE")]
    pub(crate) indicators: Vec<PathBuf>,
    /// Says of every event why this rule fires or does not, instead; an id, a name or a title.
    #[arg(long, value_name = "RULE")]
    pub(crate) explain: Option<String>,
    /// With `--explain`: for programs.
    #[arg(long, requires = "explain")]
    pub(crate) json: bool,
    /// What is printed, one line an event with findings.
    #[arg(long, value_enum, default_value_t = ScoreOutput::Assessments)]
    pub(crate) output: ScoreOutput,
    /// Whether an event's log source decides which rules it is tried against.
    #[arg(long, value_enum, default_value_t = Route::Auto)]
    pub(crate) route: Route,
    /// Prints assessments of events without findings, too.
    #[arg(long)]
    pub(crate) all: bool,
    /// Whose the events are that name no tenant.
    #[arg(long, default_value = "local", value_name = "ID")]
    pub(crate) tenant: String,
}

/// What `score` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScoreOutput {
    /// Assessments, as on the topic.
    Assessments,
    /// `{"line":N,"rules":["ID",…]}`.
    Hits,
    /// OCSF Detection Findings.
    Ocsf,
}

/// How rules are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Route {
    /// By log source.
    Auto,
    /// Every rule on every event.
    Off,
}

impl From<Route> for Routing {
    fn from(route: Route) -> Self {
        match route {
            Route::Auto => Self::Auto,
            Route::Off => Self::Off,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Tells which rules can be used, and why the others can't.
    Check(CheckArgs),
    /// Runs the examples that stand in the rules.
    Test(RulesArgs),
    /// Counts rules by level and log source, and measures on events which rules and fields take the time.
    Stats(StatsArgs),
    /// Prints what of ATT&CK the rules are about: a layer for ATT&CK Navigator.
    Coverage(RulesArgs),
}

/// Arguments of `rules check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) rules: RulesArgs,
    /// Whether warnings make the answer a no (exit code 1), too.
    #[arg(long)]
    pub(crate) strict: bool,
    /// How findings are printed.
    #[arg(long, value_enum, default_value_t, conflicts_with = "json", value_name = "FORM")]
    pub(crate) output: CheckOutput,
}

/// How the findings of `rules check` are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckOutput {
    /// One a line: `path:line:column: error|warning: what is wrong; what to write instead`.
    #[default]
    Text,
    /// One JSON object, as with `--json`.
    Json,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
}

/// Arguments of `rules stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    pub(crate) rules: RulesArgs,
    /// Events to measure on, in any form that `score` reads. The first 1,000 are used.
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// How many rules and fields are named.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) top: usize,
}

/// Which rules.
#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    /// Where the rules are; without it, those that are configured.
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Pipelines for the rules instead of the configured ones, files or folders; may be given several times.
    #[arg(long = "pipeline", value_name = "FILE")]
    pub(crate) pipelines: Vec<PathBuf>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndicatorsCommand {
    /// Counts what can be used of lists, and says what can't.
    Check {
        /// The lists, also `.gz` and `.zst`; without any, those that are configured.
        #[arg(value_name = "FILES")]
        files: Vec<PathBuf>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Creates the topics that are missing; changes none.
    Apply(JsonArgs),
    /// Tells which topics are missing or differ.
    Check(JsonArgs),
}

/// How an answer is printed.
#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TenantsCommand {
    /// Tells whether a tenants file can be used, and what each tenant may send.
    Check {
        /// The file; without it, the one that is configured.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// A topic, or the last part of its name: `assessments`, `actions`, `rejections`, `dlq`, `events`.
    pub(crate) topic: String,
    /// Where to begin.
    #[arg(long, value_enum, default_value_t = Begin::End)]
    pub(crate) from: Begin,
    /// One JSON object a record, with key, headers and offset.
    #[arg(long)]
    pub(crate) json: bool,
    /// Ends after so many records.
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<u64>,
}

/// Where `tail` begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Begin {
    /// With the oldest record.
    Beginning,
    /// With the next that comes.
    End,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Only those given up for this reason: `not_json`, `no_tenant`, …
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Only those of this tenant, as header or key name it.
    #[arg(long, value_name = "ID")]
    pub(crate) tenant: Option<String>,
    /// Says what would be sent back, and sends nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `reprocess`.
#[derive(Debug, Args)]
pub(crate) struct ReprocessArgs {
    /// From when on, by the records' times: `2026-01-31T12:00:00Z`, or a period before now: `90m`, `12h`, `7d`.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: String,
    /// Until when; without it, up to where the fleet is.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only this tenant's events.
    #[arg(long, value_name = "ID")]
    pub(crate) tenant: Option<String>,
    /// Writes assessments that are there already, too: rules have changed, and consumers keep the last of each id.
    #[arg(long)]
    pub(crate) rewrite: bool,
    /// Lets playbooks act on what is found; without it, it is only recorded.
    #[arg(long)]
    pub(crate) respond: bool,
    /// Says how much would be assessed again, and does nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prints the configuration in force, with secrets masked.
    Show(JsonArgs),
    /// Tells whether the configuration can be used, with the tenants, rules and playbooks that it names.
    Check(JsonArgs),
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Tries out each permission, and reads the brokers' clock. Writes a small record to each topic for it, in a transaction
    /// that is aborted.
    #[arg(long)]
    pub(crate) probe: bool,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Whether it is ready as well: all partitions there, and their state.
    #[arg(long)]
    pub(crate) ready: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// How many events a second the matcher takes, on one thread.
    Match(BenchMatchArgs),
    /// How many events a second a worker takes from Kafka to Kafka, beside a loop that only passes records on.
    Pipeline(BenchPipelineArgs),
    /// How much slower a worker is that correlates, too, and how long it takes from an event to what it completes.
    Correlations(BenchCorrelationsArgs),
}

/// Arguments of `bench match`.
#[derive(Debug, Args)]
pub(crate) struct BenchMatchArgs {
    /// Rules instead of the configured ones.
    #[arg(long, value_name = "DIR")]
    pub(crate) rules: Option<PathBuf>,
    /// Events, in any form that `score` reads.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) events: Vec<PathBuf>,
    /// Takes the events as if so many hosts sent at the same time: the log is cut into that many runs, one event is taken of each in turn.
    #[arg(long, value_name = "HOSTS", num_args = 0..=1, default_missing_value = "64")]
    pub(crate) interleave: Option<NonZeroUsize>,
    /// Takes only events of which a rule is true.
    #[arg(long)]
    pub(crate) hits_only: bool,
    /// Whether an event's log source decides which rules it is tried against.
    #[arg(long, value_enum, default_value_t = Route::Auto)]
    pub(crate) route: Route,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `bench pipeline`.
#[derive(Debug, Args)]
pub(crate) struct BenchPipelineArgs {
    /// The Kafka to measure on, `kafka.bootstrap` in the configuration.
    #[arg(long, value_name = "HOSTS")]
    pub(crate) bootstrap: Option<String>,
    /// Events to send through.
    #[arg(long, default_value_t = 500_000, value_name = "N")]
    pub(crate) events: u64,
    /// Events a second at which latency is measured; half of what the pipeline reached, without it.
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<u32>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `bench correlations`.
#[derive(Debug, Args)]
pub(crate) struct BenchCorrelationsArgs {
    /// The Kafka to measure on, `kafka.bootstrap` in the configuration.
    #[arg(long, value_name = "HOSTS")]
    pub(crate) bootstrap: Option<String>,
    /// Events to send through.
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    pub(crate) events: u64,
    /// Events a second at which latency is measured.
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    pub(crate) rate: u32,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// Lists the dead letters: where each came from, and why it was given up.
    Show(DeadShowArgs),
    /// Writes a record's value to stdout, as it lies on the topic that it came from.
    Fetch(DeadFetchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DeadShowArgs {
    /// Only those given up for this reason: `unreadable_batch`, …
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Ends after so many.
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<u64>,
    /// For programs: a JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeadFetchArgs {
    /// The topic that it came from.
    pub(crate) topic: String,
    /// Its partition.
    pub(crate) partition: i32,
    /// Its offset.
    pub(crate) offset: i64,
    /// What its batch may become in memory, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000_000, value_parser = clap::value_parser!(usize))]
    pub(crate) max_batch_bytes: usize,
}

#[derive(Debug, Args)]
pub(crate) struct SkipArgs {
    /// The topic that the stage reads.
    pub(crate) topic: String,
    /// The partition.
    pub(crate) partition: i32,
    /// The offset to step over.
    pub(crate) offset: i64,
    /// Which stage, where several read the topic.
    #[arg(long, value_name = "NAME")]
    pub(crate) stage: Option<String>,
    /// Where the stage stands, if more than that one offset is to be stepped over.
    #[arg(long, value_name = "OFFSET")]
    pub(crate) from: Option<i64>,
    /// Why, for the record.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}
