//! Looks which certificates of the host are about to expire.

use crate::certificates::{self, Certificate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, ErrorKind, Place, Result, Tool};

pub(crate) struct SystemCheckCertificates;

const fn default_limit() -> u32 {
    100
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only this file, or the files below this directory, by absolute path in /etc, /usr or /opt; absent means where servers keep theirs, and what their configurations name.
    #[serde(default)]
    #[schemars(length(min = 1, max = 4096))]
    path: Option<String>,
    /// Only what is over within so many days, or is over already.
    #[serde(default)]
    #[schemars(range(max = 36500))]
    within_days: Option<u32>,
    /// Most to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What is over soonest comes first.
    certificates: Vec<Certificate>,
    /// How many match, returned or not.
    total: usize,
    /// Files that were opened.
    files_looked_at: usize,
    /// Paths that are there and that you may not read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
    /// Whether there were more files than are looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_cut: bool,
}

impl Tool for SystemCheckCertificates {
    const NAME: &'static str = "system_check_certificates";
    const SUMMARY: &'static str = "Check the TLS certificates on this host: for which names, by whom, and how many days are left, those that expire first on top.";
    const KEYWORDS: &'static str = "certificate tls ssl https x509 pem expire expiry expired days left renew letsencrypt issuer subject san | certificat tls ssl https expire expiration bientôt renouveler jours restants émetteur";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let path = input.path.as_deref().map(certificates::absolute).transpose()?;
        let found = certificates::look(ctx, path).map_err(|mut err| {
            if err.kind == ErrorKind::Denied {
                let may = "; certificates are looked at in /etc, /usr and /opt, as far as you may read them yourself";
                err.message.to_mut().push_str(may);
            }
            err
        })?;
        let mut certificates = found.certificates;
        certificates.retain(|one| input.within_days.is_none_or(|days| one.days_left <= i64::from(days)));
        let total = certificates.len();
        certificates.truncate(input.limit as usize);
        Ok(Output {
            certificates,
            total,
            files_looked_at: found.files_looked_at,
            unreadable: found.unreadable.into_iter().collect(),
            is_cut: found.is_cut,
        })
    }
}
