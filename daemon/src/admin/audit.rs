//! The hash-chained record of every call.

use super::{Office, internal};
use serde::Deserialize;
use skynet_proto::{
    AuditQueryRequest, AuditRecord, AuditVerifyRequest, AuditVerifyResponse, audit_server::Audit,
};
use skynet_store::Ledger;
use std::{borrow::Cow, collections::VecDeque};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Records on their way to one client.
const BUFFERED_RECORDS: usize = 256;

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    at: Cow<'a, str>,
    #[serde(borrow, default)]
    tool: Cow<'a, str>,
    #[serde(borrow, default)]
    outcome: Cow<'a, str>,
    #[serde(borrow, default)]
    call: Cow<'a, str>,
}

fn matches(query: &AuditQueryRequest, json: &[u8]) -> bool {
    let Ok(fields) = serde_json::from_slice::<Fields<'_>>(json) else {
        return false;
    };
    let is_wanted = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
    // RFC 3339 in UTC with a fixed number of digits sorts as text.
    let since = query.since.and_then(|since| {
        let at = jiff::Timestamp::new(since.seconds, since.nanos).ok()?;
        Some(format!("{at:.6}"))
    });
    is_wanted(&query.tool, &fields.tool)
        && is_wanted(&query.outcome, &fields.outcome)
        && is_wanted(&query.call_id, &fields.call)
        && (query.session.is_empty() || fields.call.split('.').next() == Some(&query.session))
        && since.is_none_or(|since| *fields.at >= *since)
}

/// Sends what is recorded, then what comes, to a blocking-friendly channel.
fn query(ledger: &Ledger, query: &AuditQueryRequest, to: &mpsc::Sender<Result<AuditRecord, Status>>) {
    let mut written = ledger.watch();
    let mut last = 0;
    let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
    let runtime = tokio::runtime::Handle::current();
    loop {
        let records = match ledger.records() {
            Ok(records) => records.filter(|record| record.position.sequence > last),
            Err(err) => {
                // A client that left does not need the reason.
                let _ = to.blocking_send(Err(internal(err)));
                return;
            }
        };
        let mut newest = VecDeque::new();
        let mut end = last;
        for record in records {
            end = end.max(record.position.sequence);
            if matches(query, &record.json) {
                newest.push_back(record);
                if newest.len() > limit {
                    newest.pop_front();
                }
            }
        }
        last = end;
        for record in newest {
            let mut json = String::from_utf8_lossy(&record.json).into_owned();
            json.truncate(json.len().saturating_sub(1));
            let json = format!(r#"{json},"hash":"{}"}}"#, record.hash);
            if to.blocking_send(Ok(AuditRecord { sequence: record.position.sequence, json })).is_err() {
                return;
            }
        }
        let ended = !query.follow
            || runtime.block_on(async {
                tokio::select! {
                    changed = written.changed() => changed.is_err(),
                    () = to.closed() => true,
                }
            });
        if ended {
            return;
        }
    }
}

#[tonic::async_trait]
impl Audit for Office {
    type QueryStream = ReceiverStream<Result<AuditRecord, Status>>;

    async fn query(
        &self,
        request: Request<AuditQueryRequest>,
    ) -> Result<Response<Self::QueryStream>, Status> {
        let (to, stream) = mpsc::channel(BUFFERED_RECORDS);
        let ledger = self.services.audit.clone();
        tokio::task::spawn_blocking(move || query(&ledger, request.get_ref(), &to));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn verify(
        &self,
        _request: Request<AuditVerifyRequest>,
    ) -> Result<Response<AuditVerifyResponse>, Status> {
        let ledger = self.services.audit.clone();
        let verdict = tokio::task::spawn_blocking(move || ledger.verify())
            .await
            .map_err(internal)?
            .map_err(internal)?;
        Ok(Response::new(AuditVerifyResponse {
            records: verdict.records,
            head_hash: verdict.head,
            faults: verdict.faults,
        }))
    }
}
