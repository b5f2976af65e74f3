//! What is in force now, and can be replaced between two batches: tenants, rules and playbooks.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use cybervault_indicators::Kind;
use cybervault_model::Tenant;
use cybervault_quota::{Admission, parse_tenants};
use cybervault_response::{Playbooks, When, parse_playbook};
use cybervault_scoring::AttackTable;
use metrics::{counter, gauge};

use crate::{
    config::Config,
    content::{ContentError, Source, Sources},
    detection::{Correlations, Detection},
    indicators::{self, load_and_tell},
};

/// What can be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The tenants.
    Tenants,
    /// The rules.
    Rules,
    /// The playbooks.
    Playbooks,
    /// The indicators.
    Indicators,
}

impl Part {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Tenants, Self::Rules, Self::Playbooks, Self::Indicators];

    /// The name, for logs and metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Rules => "rules",
            Self::Playbooks => "playbooks",
            Self::Indicators => "indicators",
        }
    }
}

/// What is in force now. Stages take it up at the beginning of a batch.
#[derive(Debug)]
pub(crate) struct Live {
    config: Config,
    sources: Sources,
    admission: ArcSwap<Admission>,
    detection: ArcSwap<Detection>,
    playbooks: ArcSwap<Playbooks>,
    /// What the files of each part said when they were last read.
    seen: Mutex<[u64; Part::ALL.len()]>,
}

impl Live {
    /// Reads and checks everything.
    pub(crate) fn load(config: &Config, sources: Sources) -> Result<Self, ContentError> {
        let seen = Part::ALL.map(|part| fingerprint(&sources, part));
        let indicators = Arc::new(load_and_tell(&sources.feeds)?);
        let rules = Detection::load(&sources.rules, &sources.pipelines, config.scoring, Correlations::Evaluated)?;
        let live = Self {
            seen: Mutex::new(seen),
            admission: ArcSwap::from_pointee(load_tenants(config, &sources.tenants)?),
            detection: ArcSwap::from_pointee(rules.with_indicators(indicators)),
            playbooks: ArcSwap::from_pointee(load_playbooks(&sources.playbooks)?),
            config: config.clone(),
            sources,
        };
        live.doubts().iter().for_each(|doubt| tracing::warn!("{doubt}"));
        live.measure();
        Ok(live)
    }

    /// The configuration it was loaded with.
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// Where everything comes from.
    pub(crate) const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The tenants in force.
    pub(crate) fn admission(&self) -> Arc<Admission> {
        self.admission.load_full()
    }

    /// The rules in force.
    pub(crate) fn detection(&self) -> Arc<Detection> {
        self.detection.load_full()
    }

    /// The playbooks in force.
    pub(crate) fn playbooks(&self) -> Arc<Playbooks> {
        self.playbooks.load_full()
    }

    /// Reads `part` again, if its files have changed or `anyway`. What is wrong is logged, and the old stays in force.
    pub(crate) fn reload(&self, part: Part, anyway: bool) {
        let now = fingerprint(&self.sources, part);
        let before = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            mem::replace(&mut seen[part as usize], now)
        };
        if before == now && !anyway {
            return;
        }
        let result = match self.try_reload(part) {
            Ok(()) => {
                tracing::info!(what = part.as_str(), "taken up");
                if part == Part::Playbooks {
                    self.doubts().iter().for_each(|doubt| tracing::warn!("{doubt}"));
                }
                "ok"
            }
            Err(error) => {
                tracing::error!(what = part.as_str(), %error, "refused; what was in force stays so");
                "refused"
            }
        };
        counter!("cybervault_reloads_total", "what" => part.as_str(), "result" => result).increment(1);
        self.measure();
    }

    fn try_reload(&self, part: Part) -> Result<(), ContentError> {
        let Sources { tenants, rules, pipelines, playbooks, feeds } = &self.sources;
        match part {
            Part::Tenants => self.admission.store(Arc::new(load_tenants(&self.config, tenants)?)),
            Part::Playbooks => self.playbooks.store(Arc::new(load_playbooks(playbooks)?)),
            Part::Indicators => {
                let new = Arc::new(load_and_tell(feeds)?);
                self.detection.store(Arc::new(self.detection().with_indicators(new)));
            }
            Part::Rules => {
                let new = Detection::load(rules, pipelines, self.config.scoring, Correlations::Evaluated)?;
                // A rule that is in force must not get lost by a slip in its file.
                let failed = new.matcher.failed();
                if let [first, ..] = failed
                    && failed.len() > self.detection().matcher.failed().len()
                {
                    let (what, place) = (part.as_str(), rules.to_string());
                    let reason = format!("{} can't be used: {first}", failed.len());
                    return Err(ContentError::Invalid { what, place, reason });
                }
                let indicators = self.detection().indicators.clone();
                self.detection.store(Arc::new(new.with_indicators(indicators)));
            }
        }
        Ok(())
    }

    /// What playbooks ask for that nobody has heard of: it may be meant for rules to come, or a slip.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let (attack, detection, playbooks) = (AttackTable::embedded(), self.detection(), self.playbooks());
        let has_rule = |id: &str| {
            let correlation = || detection.plan.correlations().any(|correlation| correlation.meta.id == id);
            detection.matcher.rules().iter().any(|rule| rule.id == id) || correlation()
        };
        let mut doubts = Vec::new();
        for playbook in playbooks.iter() {
            let When { techniques, tactics, rules, .. } = &playbook.when;
            let unknown = techniques.iter().filter(|id| !attack.has_technique(id)).map(|id| ("technique", id));
            let unknown =
                unknown.chain(tactics.iter().filter(|name| !attack.has_tactic(name)).map(|id| ("tactic", id)));
            let unknown = unknown.chain(rules.iter().filter(|id| !has_rule(id)).map(|id| ("rule", id)));
            doubts.extend(unknown.map(|(what, id)| format!("playbook `{}`: there is no {what} `{id}`", playbook.id)));
        }
        doubts
    }

    fn measure(&self) {
        let detection = self.detection();
        #[expect(clippy::cast_precision_loss)]
        let set = |name: &'static str, count: usize| gauge!(name).set(count as f64);
        set("cybervault_rules_loaded", detection.matcher.rules().len());
        set("cybervault_correlations_loaded", detection.plan.len());
        set("cybervault_rules_failed", detection.matcher.failed().len());
        for kind in Kind::ALL {
            let count = detection.indicators.count(kind);
            #[expect(clippy::cast_precision_loss)]
            gauge!("cybervault_indicators_loaded", "kind" => kind.as_str()).set(count as f64);
        }
        set("cybervault_playbooks_loaded", self.playbooks().len());
        set("cybervault_tenants_loaded", self.admission().len());
    }
}

/// What the files of a part say, in a number; 0 where they can't be read.
fn fingerprint(sources: &Sources, part: Part) -> u64 {
    let mut hash = DefaultHasher::new();
    let (source, more) = match part {
        Part::Tenants => (&sources.tenants, &[][..]),
        Part::Rules => (&sources.rules, &sources.pipelines[..]),
        Part::Playbooks => (&sources.playbooks, &[][..]),
        Part::Indicators => {
            indicators::fingerprint(&sources.feeds, &mut hash);
            return hash.finish();
        }
    };
    for source in std::iter::once(source).chain(more) {
        let Ok(files) = source.read("files") else { return 0 };
        files.iter().for_each(|file| (&file.path, &file.text).hash(&mut hash));
    }
    hash.finish()
}

/// The tenants in `source`, checked against the plans.
pub(crate) fn read_tenants(config: &Config, source: &Source) -> Result<Vec<Tenant>, ContentError> {
    let what = "tenants";
    let invalid = |reason| ContentError::Invalid { what, place: source.to_string(), reason };
    let mut tenants = Vec::new();
    for file in source.read(what)? {
        tenants.append(&mut parse_tenants(&file.text).map_err(|error| invalid(error.to_string()))?);
    }
    if tenants.is_empty() && !config.allow_no_tenants {
        // Half of a roll-out, or a template that found nothing, would have all events of all tenants rejected.
        let reason =
            "it names no tenant, so every event would be rejected; if that is meant, set `allow_no_tenants: true`";
        return Err(invalid(reason.to_owned()));
    }
    for tenant in &tenants {
        config.quota.plans.of_tenant(tenant).map_err(|error| invalid(error.to_string()))?;
    }
    Ok(tenants)
}

fn load_tenants(config: &Config, source: &Source) -> Result<Admission, ContentError> {
    let tenants = read_tenants(config, source)?;
    Admission::compile(tenants, &config.quota.plans, config.quota_spread()).map_err(|error| ContentError::Invalid {
        what: "tenants",
        place: source.to_string(),
        reason: error.to_string(),
    })
}

fn load_playbooks(source: &Source) -> Result<Playbooks, ContentError> {
    let what = "playbooks";
    let invalid = |reason| ContentError::Invalid { what, place: source.to_string(), reason };
    let files = source.read(what)?;
    let playbooks: Result<Vec<_>, _> = files.iter().map(|file| parse_playbook(&file.path, &file.text)).collect();
    playbooks.and_then(Playbooks::compile).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{FeedFile, Indicators, Rules};

    #[test]
    fn a_changed_pipeline_is_taken_up_and_a_broken_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [rules, pipeline] = ["rule.yml", "pipeline.yml"].map(|name| folder.path().join(name));
        let rule = "title: t\nlogsource: {product: windows}\ndetection: {sel: {A: 1}, condition: sel}\n";
        fs::write(&rules, rule).unwrap();
        fs::write(&pipeline, "transformations: []\n").unwrap();
        let pipelines = vec![pipeline.clone()];
        let config = Config { rules_dir: Some(rules), rules: Rules { pipelines }, ..Config::default() };
        let live = Live::load(&config, Sources::of(&config, true).unwrap()).unwrap();
        let version = || live.detection().matcher.version().to_owned();
        let first = version();
        fs::write(&pipeline, "transformations: [{type: field_name_prefix, prefix: x.}]\n").unwrap();
        live.reload(Part::Rules, false);
        let second = version();
        assert_ne!(first, second);
        for broken in ["transformations: [{type: nothing}]\n", "transformations: [{type: rule_failure, message: no}]\n"]
        {
            fs::write(&pipeline, broken).unwrap();
            live.reload(Part::Rules, false);
            assert_eq!(version(), second, "{broken}");
        }
    }

    #[test]
    fn an_empty_list_of_tenants_is_a_slip_unless_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tenants.yaml");
        fs::write(&file, "tenants: [{tenant_id: acme, plan: starter}]\n").unwrap();
        let config = Config { tenants_file: Some(file.clone()), ..Config::default() };
        let load = |config: &Config| Live::load(config, Sources::of(config, false).unwrap());
        let live = load(&config).unwrap();
        fs::write(&file, "tenants: []\n").unwrap();
        live.reload(Part::Tenants, false);
        assert_eq!(live.admission().len(), 1, "what was in force stays so");
        let refused = load(&config).unwrap_err().to_string();
        assert!(refused.contains("set `allow_no_tenants: true`"), "{refused}");
        let asked_for = Config { allow_no_tenants: true, ..config };
        assert!(load(&asked_for).unwrap().admission().is_empty());
    }

    #[test]
    fn a_changed_list_of_indicators_is_taken_up_and_a_lost_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list.txt");
        fs::write(&list, "evil.example\n").unwrap();
        let indicators = Indicators { feeds: vec![FeedFile::new(list.clone())] };
        let config = Config { indicators, ..Config::default() };
        let live = Live::load(&config, Sources::of(&config, true).unwrap()).unwrap();
        let count = || live.detection().indicators.count(Kind::Domain);
        let rules = live.detection().matcher.clone();
        assert_eq!(count(), 1);
        fs::write(&list, "evil.example\nworse.example\n").unwrap();
        live.reload(Part::Indicators, false);
        assert_eq!(count(), 2);
        fs::write(&list, "<html>404</html>\n").unwrap();
        live.reload(Part::Indicators, false);
        fs::remove_file(&list).unwrap();
        live.reload(Part::Indicators, true);
        assert_eq!(count(), 2);
        // One part is replaced without the other.
        assert!(Arc::ptr_eq(&rules, &live.detection().matcher));
        live.reload(Part::Rules, true);
        assert_eq!(count(), 2);
    }
}
