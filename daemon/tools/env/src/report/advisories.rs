//! Known vulnerabilities of dependencies, as each ecosystem's auditor says it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A vulnerability of a dependency.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub(crate) struct Vulnerability {
    /// The package.
    pub(crate) package: String,
    /// Its version or versions, where the auditor says them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) installed: Option<String>,
    /// `critical`, `high`, `moderate`, `low`, or `unknown`.
    pub(crate) severity: String,
    /// Its id or address.
    pub(crate) id: String,
    /// What it is.
    pub(crate) title: String,
    /// A version without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fixed_in: Option<String>,
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// `npm audit --json` (audit report version 2).
pub(crate) fn npm(json: &str) -> Option<Vec<Vulnerability>> {
    #[derive(Deserialize)]
    struct Report {
        vulnerabilities: BTreeMap<String, Package>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Package {
        via: Vec<Via>,
        #[serde(default)]
        range: String,
        fix_available: Fix,
    }
    /// What is vulnerable by another package names that one, which has an entry of its own.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Via {
        Advisory(Advisory),
        Package(#[allow(dead_code, reason = "tells it from an advisory")] String),
    }
    #[derive(Deserialize)]
    struct Advisory {
        title: String,
        url: String,
        severity: String,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Fix {
        Whether(#[allow(dead_code, reason = "tells it from a version")] bool),
        By { name: String, version: String },
    }
    let report: Report = serde_json::from_str(json.trim()).ok()?;
    let mut found = Vec::new();
    for (package, Package { via, range, fix_available }) in report.vulnerabilities {
        let fixed_in = match &fix_available {
            Fix::By { name, version } => Some(format!("{name}@{version}")),
            Fix::Whether(_) => None,
        };
        for one in via {
            let Via::Advisory(Advisory { title, url, severity }) = one else { continue };
            found.push(Vulnerability {
                package: package.clone(),
                installed: Some(range.clone()).filter(|range| !range.is_empty()),
                severity,
                id: url,
                title,
                fixed_in: fixed_in.clone(),
            });
        }
    }
    Some(found)
}

/// An advisory of the registry, as Yarn 1 and pnpm pass it on.
#[derive(Deserialize)]
struct Advisory {
    module_name: String,
    severity: String,
    title: String,
    url: String,
    patched_versions: Option<String>,
    #[serde(default)]
    findings: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

impl From<Advisory> for Vulnerability {
    fn from(advisory: Advisory) -> Self {
        let versions: BTreeSet<_> = advisory.findings.into_iter().map(|found| found.version).collect();
        let versions: Vec<_> = versions.into_iter().collect();
        Self {
            package: advisory.module_name,
            installed: Some(versions.join(", ")).filter(|versions| !versions.is_empty()),
            severity: advisory.severity,
            id: advisory.url,
            title: advisory.title,
            fixed_in: advisory.patched_versions,
        }
    }
}

/// `pnpm audit --json`.
pub(crate) fn pnpm(json: &str) -> Option<Vec<Vulnerability>> {
    #[derive(Deserialize)]
    struct Report {
        advisories: BTreeMap<String, Advisory>,
    }
    let report: Report = serde_json::from_str(json.trim()).ok()?;
    Some(report.advisories.into_values().map(Vulnerability::from).collect())
}

/// `yarn audit --json` of Yarn 1: one advisory for each way to it.
pub(crate) fn yarn(lines: &str) -> Option<Vec<Vulnerability>> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "type")]
        kind: String,
        data: serde_json::Value,
    }
    let lines: Vec<Line> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>().ok()?;
    if !lines.iter().any(|line| line.kind == "auditSummary") {
        return None;
    }
    let mut found = BTreeSet::new();
    for mut line in lines.into_iter().filter(|line| line.kind == "auditAdvisory") {
        let advisory = line.data.get_mut("advisory").map(serde_json::Value::take);
        let advisory: Advisory = serde_json::from_value(advisory?).ok()?;
        found.insert(Vulnerability::from(advisory));
    }
    Some(found.into_iter().collect())
}

/// `pip-audit --format json`.
pub(crate) fn pip(json: &str) -> Option<Vec<Vulnerability>> {
    #[derive(Deserialize)]
    struct Report {
        dependencies: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        #[serde(default)]
        version: Option<String>,
        #[serde(default)]
        vulns: Vec<Found>,
    }
    #[derive(Deserialize)]
    struct Found {
        id: String,
        #[serde(default)]
        fix_versions: Vec<String>,
        #[serde(default)]
        description: String,
    }
    let report: Report = serde_json::from_str(json.trim()).ok()?;
    let mut found = Vec::new();
    for package in report.dependencies {
        for one in package.vulns {
            found.push(Vulnerability {
                package: package.name.clone(),
                installed: package.version.clone(),
                severity: unknown(),
                id: one.id,
                title: one.description.lines().next().unwrap_or_default().to_owned(),
                fixed_in: one.fix_versions.into_iter().next(),
            });
        }
    }
    Some(found)
}

/// `cargo audit --json`.
pub(crate) fn cargo(json: &str) -> Option<Vec<Vulnerability>> {
    #[derive(Deserialize)]
    struct Report {
        vulnerabilities: List,
    }
    #[derive(Deserialize)]
    struct List {
        list: Vec<Found>,
    }
    #[derive(Deserialize)]
    struct Found {
        advisory: About,
        package: Package,
        versions: Option<Versions>,
    }
    #[derive(Deserialize)]
    struct About {
        id: String,
        title: String,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    #[derive(Deserialize)]
    struct Versions {
        patched: Vec<String>,
    }
    let report: Report = serde_json::from_str(json.trim()).ok()?;
    let found = report.vulnerabilities.list.into_iter().map(|one| Vulnerability {
        package: one.package.name,
        installed: Some(one.package.version),
        severity: unknown(),
        id: one.advisory.id,
        title: one.advisory.title,
        fixed_in: one.versions.and_then(|versions| versions.patched.into_iter().next()),
    });
    Some(found.collect())
}

/// `govulncheck -json`: messages one after the other; of the findings of a vulnerability the first counts.
pub(crate) fn go(json: &str) -> Option<Vec<Vulnerability>> {
    #[derive(Deserialize)]
    struct Message {
        config: Option<serde_json::Value>,
        osv: Option<Osv>,
        finding: Option<Found>,
    }
    #[derive(Deserialize)]
    struct Osv {
        id: String,
        #[serde(default)]
        summary: String,
    }
    #[derive(Deserialize)]
    struct Found {
        osv: String,
        fixed_version: Option<String>,
        #[serde(default)]
        trace: Vec<Frame>,
    }
    #[derive(Deserialize)]
    struct Frame {
        module: String,
        version: Option<String>,
    }
    let messages = serde_json::Deserializer::from_str(json).into_iter::<Message>();
    let (mut titles, mut found, mut is_report) = (BTreeMap::new(), BTreeMap::new(), false);
    for message in messages {
        let message = message.ok()?;
        is_report |= message.config.is_some();
        if let Some(Osv { id, summary }) = message.osv {
            titles.insert(id, summary);
        }
        if let Some(one) = message.finding {
            let Some(Frame { module, version }) = one.trace.into_iter().next() else { continue };
            let vulnerability = Vulnerability {
                package: module,
                installed: version,
                severity: unknown(),
                id: one.osv.clone(),
                title: String::new(),
                fixed_in: one.fixed_version,
            };
            found.entry(one.osv).or_insert(vulnerability);
        }
    }
    let named = found
        .into_iter()
        .map(|(id, one)| Vulnerability { title: titles.remove(&id).unwrap_or_default(), ..one });
    is_report.then(|| named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_auditor_is_read_alike() {
        let npm_report = r#"{"auditReportVersion":2,"vulnerabilities":{
            "a":{"name":"a","severity":"high","via":[{"source":1,"name":"a","title":"bad","url":"u","severity":"high","range":"<2"}],"range":"<2","fixAvailable":{"name":"a","version":"2.0","isSemVerMajor":false}},
            "b":{"name":"b","severity":"high","via":["a"],"range":"*","fixAvailable":true}}}"#;
        let pnpm_report = r#"{"advisories":{"1":{"findings":[{"version":"1.0","paths":["a"]}],"module_name":"a","severity":"high","title":"bad","url":"u","patched_versions":">=2.0"}}}"#;
        let yarn_lines = "{\"type\":\"auditAdvisory\",\"data\":{\"advisory\":{\"module_name\":\"a\",\"severity\":\"high\",\"title\":\"bad\",\"url\":\"u\",\"findings\":[]}}}\n{\"type\":\"auditAdvisory\",\"data\":{\"advisory\":{\"module_name\":\"a\",\"severity\":\"high\",\"title\":\"bad\",\"url\":\"u\",\"findings\":[]}}}\n{\"type\":\"auditSummary\",\"data\":{}}";
        let pip_report = r#"{"dependencies":[{"name":"a","version":"1.0","vulns":[{"id":"u","fix_versions":["2.0"],"aliases":[],"description":"bad\nmore"}]},{"name":"b","skip_reason":"x"}]}"#;
        let cargo_report = r#"{"vulnerabilities":{"found":true,"count":1,"list":[{"advisory":{"id":"u","title":"bad"},"versions":{"patched":[">=2.0"]},"package":{"name":"a","version":"1.0"}}]}}"#;
        let go_report = r#"{"config":{}}{"osv":{"id":"u","summary":"bad"}}{"finding":{"osv":"u","fixed_version":"v2.0","trace":[{"module":"a","version":"v1.0"}]}}{"finding":{"osv":"u","trace":[{"module":"a","package":"p"}]}}"#;
        let reports = [
            npm(npm_report),
            pnpm(pnpm_report),
            yarn(yarn_lines),
            pip(pip_report),
            cargo(cargo_report),
            go(go_report),
        ];
        for (place, report) in reports.into_iter().enumerate() {
            let found = report.unwrap_or_else(|| panic!("{place}"));
            let [one] = &*found else { panic!("{place}: {found:?}") };
            assert_eq!((&*one.package, &*one.id, &*one.title), ("a", "u", "bad"), "{place}");
            assert_eq!(one.severity, if place < 3 { "high" } else { "unknown" }, "{place}");
        }
    }

    #[test]
    fn what_is_no_report_is_none() {
        assert!(npm("{\"error\":{}}").is_none() && pnpm("x").is_none() && yarn("{}").is_none());
        assert!(pip("").is_none() && cargo("error").is_none() && go("").is_none());
    }
}
