//! The hash-chained record of every call.

use super::{Office, filter::Filter, internal, timestamp};
use skynet_proto::{
    AuditKey, AuditQueryRequest, AuditRecord, AuditVerifyRequest, AuditVerifyResponse, audit_server::Audit,
};
use skynet_store::Ledger;
use std::collections::VecDeque;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Records on their way to one client.
const BUFFERED_RECORDS: usize = 256;

/// Sends what is recorded, then what comes, to a blocking-friendly channel.
fn query(ledger: &Ledger, filter: &Filter, to: &mpsc::Sender<Result<AuditRecord, Status>>) {
    let mut written = ledger.watch();
    let mut last = 0;
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
            if filter.takes(&record.json) {
                newest.push_back(record);
                if newest.len() > filter.limit() {
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
        let ended = !filter.follows()
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
        let filter = Filter::new(request.into_inner()).await?;
        tokio::task::spawn_blocking(move || query(&ledger, &filter, &to));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn verify(
        &self,
        _request: Request<AuditVerifyRequest>,
    ) -> Result<Response<AuditVerifyResponse>, Status> {
        let ledger = self.services.audit.clone();
        let verifying = ledger.clone();
        let verdict = tokio::task::spawn_blocking(move || verifying.verify())
            .await
            .map_err(internal)?
            .map_err(internal)?;
        let keys = ledger.keys().iter().enumerate().map(|(index, key)| AuditKey {
            id: key.id.clone(),
            public_key: key.to_base64(),
            is_current: index == 0,
        });
        let signed = verdict.signed;
        Ok(Response::new(AuditVerifyResponse {
            records: verdict.records,
            head_hash: verdict.head,
            faults: verdict.faults,
            checkpoints: verdict.checkpoints,
            signed_records: signed.as_ref().map_or(0, |signed| signed.records),
            signed_at: signed.and_then(|signed| signed.at.parse().ok()).map(timestamp),
            keys: keys.collect(),
        }))
    }
}
