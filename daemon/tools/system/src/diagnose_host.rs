//! Looks at all that the host tells of itself, and says what is wrong, the worst first.

use crate::diagnosis::{Diagnosis, Finding, Severity, Unchecked};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct SystemDiagnoseHost;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Nothing less severe.
    #[serde(default)]
    at_least: Severity,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In one sentence.
    conclusion: String,
    /// The worst first.
    findings: Vec<Finding>,
    /// What was looked at.
    checked: Vec<&'static str>,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unchecked: Vec<Unchecked>,
}

impl Tool for SystemDiagnoseHost {
    const NAME: &'static str = "system_diagnose_host";
    const SUMMARY: &'static str = "Find out what is wrong with this host: one check of memory, disks, load, failed and looping services, kernel errors, clock, certificates, upgrades and open ports, ranked, each with evidence and the tool to go on with.";
    const KEYWORDS: &'static str = "diagnose health check server machine problem wrong broken overview audit troubleshoot issue sick healthy state summary alert | diagnostic diagnostiquer santé problème panne bilan serveur machine vérifier état général anomalie";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        /// So that progress has an end.
        const STEPS: f64 = 4.0;
        let mut diagnosis = Diagnosis::default();
        diagnosis.look_at_kernel();
        diagnosis.look_at_disks(ctx)?;
        diagnosis.look_at_ports().await;
        ctx.progress(1.0, Some(STEPS), "memory, load, disks and ports are looked at");
        diagnosis.look_at_units(ctx).await?;
        diagnosis.look_at_clock().await;
        ctx.progress(2.0, Some(STEPS), "services and the clock are looked at");
        diagnosis.look_at_journal(ctx).await?;
        diagnosis.look_at_certificates(ctx)?;
        ctx.progress(3.0, Some(STEPS), "journal and certificates are looked at");
        diagnosis.look_at_packages(ctx).await?;
        let Diagnosis { mut findings, checked, unchecked } = diagnosis;
        findings.sort_by_key(|finding| finding.severity);
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let (critical, warnings) = (count(Severity::Critical), count(Severity::Warning));
        let conclusion = match (critical, warnings) {
            (0, 0) => "nothing is wrong that can be seen from here".to_owned(),
            (0, warnings) => format!("nothing critical, {warnings} to look into"),
            (critical, warnings) => format!("{critical} critical, {warnings} more to look into"),
        };
        findings.retain(|finding| finding.severity <= input.at_least);
        Ok(Output { conclusion, findings, checked, unchecked })
    }
}
