//! What a human allowed for always: one user, one workspace, one tool and effect, and either exactly one input or one path. A
//! grant answers what a rule or a default would ask. It is looked at once everything has been judged and nothing denied the
//! call, so it never allows what is forbidden; and it answers for no rule that had not asked when it was made.

use crate::{
    approvals::{Approval, Approvals, Bounds, State, digest},
    audit::record_decision,
    question,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skynet_core::{
    Call, Effect, Error, Result,
    call::{AskedBy, Means, Respondent},
    canonical::hex,
};
use skynet_secrets::Keyring;
use skynet_store::{Ledger, Table, Tables};
use std::{path::PathBuf, sync::Arc, time::Duration};
use uuid::Uuid;

/// Longer lives are as good as none, in seconds: a hundred years.
const LONGEST_LIFE: u64 = 100 * 365 * 24 * 3600;

/// Which calls of a tool are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Covers {
    /// Those with this canonical input, by SHA-256 in lower-case hex.
    Input(String),
    /// Those with this argument `path`, as it is written, whatever else they say.
    Path(String),
}

/// How much a human means by always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// This input.
    Input,
    /// This path.
    Path,
}

/// What is to be granted.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Which calls.
    pub breadth: Breadth,
    /// Without end, if it is not said.
    pub lives_for: Option<Duration>,
}

/// One grant, as stored and as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Short enough to type.
    pub id: String,
    /// The id of the approval that it came with.
    pub approval: String,
    /// For whom.
    pub uid: u32,
    /// The id of the token whose calls are meant; `None` for those of no token.
    pub token: Option<String>,
    /// The path of the workspace; empty for none.
    pub workspace: String,
    /// Which tool.
    pub tool: String,
    /// What its call does.
    pub effect: Effect,
    /// Which of its calls.
    pub covers: Covers,
    /// The file that a list of commands judged: it starts this and no other of its name.
    pub program: Option<PathBuf>,
    /// The rules and entries whose question is answered.
    pub rules: Vec<String>,
    /// The input that was approved, redacted as in the audit log.
    pub input: Value,
    /// The uid of who granted it.
    pub granted_by: u32,
    /// His name, unless it is older than that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_by_user: Option<String>,
    /// When.
    pub granted_at: Timestamp,
    /// From then on it counts for nothing.
    pub expires_at: Option<Timestamp>,
}

impl Grant {
    /// Whose word it is when it answers for a call.
    pub(crate) fn respondent(&self) -> Respondent {
        Respondent {
            means: Means::Grant(self.id.clone()),
            uid: self.granted_by,
            user: self.granted_by_user.as_deref().map(Into::into),
        }
    }

    fn is_alive(&self) -> bool {
        self.expires_at.is_none_or(|expires_at| expires_at > Timestamp::now())
    }

    /// In one line which calls are meant. What an agent wrote steers no terminal.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.covers {
            Covers::Input(_) => question::brief(&self.input),
            Covers::Path(path) => question::brief(&json!({ "path": path })) + ", whatever else",
        }
    }
}

/// All of them.
pub struct Grants {
    table: Table<Grant>,
    ledger: Ledger,
    keyring: Arc<Keyring>,
}

impl Grants {
    /// Opens the table; what is granted and revoked is recorded in `ledger`.
    #[must_use]
    pub fn open(tables: &Tables, ledger: Ledger, keyring: Arc<Keyring>) -> Self {
        Self { table: tables.table("grants"), ledger, keyring }
    }

    /// The grant that answers what asks about a call; `None` where a human must.
    ///
    /// # Errors
    /// `Internal` for a call whose input was not judged.
    pub(crate) fn answering(&self, call: &Call, asked: &AskedBy) -> Result<Option<Grant>> {
        if !asked.is_grantable {
            return Ok(None);
        }
        let bounds = Bounds::of(call)?;
        let path = bounds.path.clone().map(Covers::Path);
        let covers = [Covers::Input(call.input()?.digest())].into_iter().chain(path);
        let found = covers.filter_map(|covers| {
            // What cannot be read allows nothing, as if it had never been granted.
            self.table.get(&key(&bounds, call.tool.name, call.effect, &covers)).ok().flatten()
        });
        let mut found = found.filter(|grant: &Grant| {
            grant.is_alive()
                && grant.program == bounds.program
                && asked.rules.iter().all(|rule| grant.rules.contains(rule))
        });
        Ok(found.next())
    }

    /// Approves a call that waits, and writes a grant for all like it. Both are recorded: the first by itself, as it counts by itself.
    ///
    /// # Errors
    /// As [`Approvals::decide`]; `InvalidInput` for a call that may not be granted, or not so: then nothing was decided.
    /// `Unavailable` when that cannot be recorded or stored durably: then the call is approved once, and no more.
    pub async fn approve(
        &self,
        approvals: &Approvals,
        id: &str,
        wish: Wish,
        by: &Respondent,
    ) -> Result<(Approval, Grant)> {
        let pending = approvals.pending(id)?;
        let covers = covers(&pending, wish.breadth)?;
        let approval = approvals.decide(id, State::Approved, by.clone())?;
        let only_once = |err: skynet_store::Error| {
            Error::unavailable(
                "the call is approved once, but not for always: that cannot be recorded durably",
            )
            .with_source(err)
        };
        record_decision(&self.ledger, &approval).await.map_err(only_once)?;
        let grant = self.write(&approval, covers, wish, by).await.map_err(only_once)?;
        Ok((approval, grant))
    }

    /// Those of one user or of all that still count, by time.
    #[must_use]
    pub fn list(&self, of: Option<u32>) -> Vec<Grant> {
        let mut all: Vec<_> = self.entries(of).map(|(_, grant)| grant).filter(Grant::is_alive).collect();
        all.sort_by_key(|grant| grant.granted_at);
        all
    }

    /// Ends a grant, for a user his own and for `None` anybody's. If the approval that it came with was not used, it ends too.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Unavailable` when that cannot be recorded or stored durably; it ends nevertheless.
    pub async fn revoke(&self, approvals: &Approvals, id: &str, of: Option<u32>, by: u32) -> Result<Grant> {
        let found = self.entries(of).find(|(_, grant)| grant.id == id);
        let (key, grant) = found.ok_or_else(|| {
            Error::not_found(format!("there is no grant `{id}`; see `skynetctl grant list`"))
        })?;
        approvals.withdraw(&grant.approval);
        let recorded = self.record("grant_revoked", &grant, by).await;
        // Whatever hinders the record must not keep a human from taking back what he allowed.
        let removed = self.table.remove_durably(&key);
        removed.map_err(|err| {
            Error::unavailable("the grant ends now, but may be back after a restart").with_source(err)
        })?;
        recorded.map_err(|err| {
            Error::unavailable("the grant is revoked, but that could not be recorded durably")
                .with_source(err)
        })?;
        Ok(grant)
    }

    fn entries(&self, of: Option<u32>) -> impl Iterator<Item = (String, Grant)> + use<> {
        self.table.iter().filter(move |(_, grant)| of.is_none_or(|uid| grant.uid == uid))
    }

    async fn write(
        &self,
        approval: &Approval,
        covers: Covers,
        wish: Wish,
        by: &Respondent,
    ) -> Result<Grant, skynet_store::Error> {
        let now = Timestamp::now();
        let seconds = |life: Duration| Duration::from_secs(life.as_secs().min(LONGEST_LIFE));
        let key = key(&approval.bounds, approval.tool, approval.effect, &covers);
        let grant = Grant {
            id: hex(&Uuid::new_v4().as_bytes()[..4]),
            approval: approval.id.clone(),
            uid: approval.uid,
            token: approval.bounds.token.clone(),
            workspace: approval.workspace.clone(),
            tool: approval.tool.to_owned(),
            effect: approval.effect,
            covers,
            program: approval.bounds.program.clone(),
            rules: approval.rules.clone(),
            input: approval.recorded.clone(),
            granted_by: by.uid,
            granted_by_user: by.user.as_deref().map(str::to_owned),
            granted_at: now,
            expires_at: wish.lives_for.map(|life| now + seconds(life)),
        };
        let grant = self.redacted(&grant)?;
        if let Some(replaced) = self.table.get(&key)?.filter(Grant::is_alive) {
            self.record("grant_revoked", &replaced, by.uid).await?;
        }
        self.record("grant", &grant, by.uid).await?;
        self.forget_expired();
        self.table.put_durably(&key, &grant)?;
        Ok(grant)
    }

    /// Without the values of secrets, which an agent may have written where only their names belong.
    fn redacted(&self, grant: &Grant) -> Result<Grant, skynet_store::Error> {
        let wrong = |err: &dyn std::fmt::Display| skynet_store::Error::Corrupt(format!("a grant: {err}"));
        let json = serde_json::to_vec(grant).map_err(|err| wrong(&err))?;
        let scanner = self.keyring.scanner(grant.uid).map_err(|err| wrong(&err))?;
        serde_json::from_slice(&scanner.redact(&json).bytes).map_err(|err| wrong(&err))
    }

    /// Writes a line of the audit log and waits until it survives a power cut.
    async fn record(&self, kind: &str, grant: &Grant, by: u32) -> Result<(), skynet_store::Error> {
        let line = json!({
            "kind": kind,
            "grant": grant.id,
            "tool": grant.tool,
            "effect": grant.effect,
            "uid": grant.uid,
            "token": grant.token,
            "workspace": grant.workspace,
            "covers": grant.covers,
            "program": grant.program,
            "rules": grant.rules,
            "input": grant.input,
            "by": by,
            "expires_at": grant.expires_at,
        });
        let position = self.ledger.append(line.to_string().as_bytes())?;
        self.ledger.sync(position).await
    }

    fn forget_expired(&self) {
        for (key, _) in self.entries(None).filter(|(_, grant)| !grant.is_alive()) {
            // It counts for nothing whether it is there or not.
            let _ = self.table.remove(&key);
        }
    }
}

/// What a grant for an approval is bound to.
fn covers(approval: &Approval, breadth: Breadth) -> Result<Covers> {
    if !approval.is_grantable {
        return Err(Error::invalid_input(format!(
            "`{}` wants a human each time, so this can be approved once only: leave out `--always`",
            approval.rule()
        )));
    }
    match (breadth, &approval.bounds.path) {
        (Breadth::Input, _) => Ok(Covers::Input(approval.digest.clone())),
        (Breadth::Path, Some(path)) => Ok(Covers::Path(path.clone())),
        (Breadth::Path, None) => Err(Error::invalid_input(format!(
            "this call of `{}` has no `path` to go by; leave out `--path` to allow exactly this input",
            approval.tool
        ))),
    }
}

/// Names the calls that are meant, so that no other finds the grant.
fn key(bounds: &Bounds, tool: &str, effect: Effect, covers: &Covers) -> String {
    let (kind, what) = match covers {
        Covers::Input(digest) => ("input", digest),
        Covers::Path(path) => ("path", path),
    };
    digest(&[&bounds.owner, &bounds.workspace, tool, effect.as_str(), kind, what])
}

#[cfg(test)]
#[path = "grants_tests.rs"]
mod tests;
