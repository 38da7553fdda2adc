//! Models: what there is, and having it installed, checked and measured.

use super::{Office, refused};
use skynet_core::Error;
use skynet_models::{Progress, RUNTIME, Source, Store, store::Record};
use skynet_proto::{
    BenchModelRequest, BenchModelResponse, InstallModelsProgress, InstallModelsRequest, ListModelsRequest,
    ListModelsResponse, Model, Nearest, ProviderUsage, RemoveModelRequest, RemoveModelResponse,
    VerifiedModel, VerifyModelsRequest, VerifyModelsResponse, models_server::Models,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Messages on their way to whoever waits for an installation; he is told of what is new, not of all.
const BUFFERED: usize = 64;

/// What a model reads where nobody says what: half of them questions, half as long as a paragraph of code.
const TEXTS: usize = 64;
const QUESTION: &str = "how is a service started again after its configuration was changed";
const PARAGRAPH: &str = "A unit that was changed on disk is not the one that the manager has in memory. Reload the manager first, then restart the unit, and look at its log: systemctl daemon-reload; systemctl restart example.service; journalctl --unit example.service --since today. A unit that fails again and again is no longer started; reset-failed clears that.";

impl Office {
    /// All that are known, as they are installed.
    fn known_models(&self) -> Result<Vec<Model>, Error> {
        let manifest = self.models.manifest();
        let runtime = Model {
            id: RUNTIME.into(),
            summary: format!("ONNX Runtime {}, which runs models", manifest.onnxruntime.version),
            license: manifest.onnxruntime.license.clone(),
            task: "runtime".into(),
            ..Model::default()
        };
        let models = manifest.models.iter().map(|model| Model {
            id: model.id.clone(),
            summary: model.summary.clone(),
            license: model.license.clone(),
            task: model.task.name().into(),
            dimensions: u32::try_from(model.dimensions).unwrap_or_default(),
            max_tokens: u32::try_from(model.max_tokens).unwrap_or_default(),
            ..Model::default()
        });
        std::iter::once(runtime).chain(models).map(|model| self.as_installed(model)).collect()
    }

    fn as_installed(&self, model: Model) -> Result<Model, Error> {
        let Some(record) = self.models.store().find(&model.id)? else { return Ok(model) };
        let sha256 = weights(&record).unwrap_or_default().to_owned();
        Ok(Model {
            is_installed: true,
            size_bytes: record.size_bytes(),
            source: record.source,
            sha256,
            ..model
        })
    }

    fn known_model(&self, id: &str) -> Result<Option<Model>, Error> {
        Ok(self.known_models()?.into_iter().find(|model| model.id == id))
    }
}

/// What the weights, or the library, hash to.
fn weights(record: &Record) -> Option<&str> {
    let files = record.files.iter().find(|(name, _)| !name.ends_with(".json"));
    files.map(|(_, file)| file.sha256.as_str())
}

fn of_provider(usage: skynet_models::remote::Usage) -> ProviderUsage {
    let skynet_models::remote::Usage { model, url, requests, tokens, dollars } = usage;
    ProviderUsage { model, url, requests, tokens, dollars }
}

fn told(progress: Progress) -> InstallModelsProgress {
    InstallModelsProgress {
        what: progress.what,
        step: progress.step.into(),
        done: progress.done,
        total: progress.total.unwrap_or_default(),
        installed: None,
    }
}

/// For each vector the nearest other one.
fn nearest(vectors: &[Vec<f32>]) -> Vec<Nearest> {
    let cosine = |left: &[f32], right: &[f32]| left.iter().zip(right).map(|(left, right)| left * right).sum();
    let of = |index: usize, vector: &[f32]| {
        let others = vectors.iter().enumerate().filter(|(other, _)| *other != index);
        let others = others.map(|(other, found)| (other, cosine(vector, found)));
        let best = others.max_by(|(_, left): &(usize, f32), (_, right)| left.total_cmp(right));
        let (text, similarity) = best.unwrap_or((index, 1.0));
        Nearest { text: u32::try_from(text).unwrap_or_default(), similarity }
    };
    vectors.iter().enumerate().map(|(index, vector)| of(index, vector)).collect()
}

#[tonic::async_trait]
impl Models for Office {
    async fn list(
        &self,
        _request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Ok(Response::new(ListModelsResponse {
            models: self.known_models().map_err(refused)?,
            runtime: self.models.runtime().unwrap_or_default(),
            missing: self.models.why_not().unwrap_or_default(),
            workers: self.models.pids(),
            providers: self.models.usage().into_iter().map(of_provider).collect(),
        }))
    }

    type InstallStream = ReceiverStream<Result<InstallModelsProgress, Status>>;

    async fn install(
        &self,
        request: Request<InstallModelsRequest>,
    ) -> Result<Response<Self::InstallStream>, Status> {
        let InstallModelsRequest { ids, from } = request.into_inner();
        let source = Source::parse(&from).map_err(refused)?;
        let ids = if ids.is_empty() { self.models.usual() } else { ids };
        for id in ids.iter().filter(|id| *id != RUNTIME) {
            self.models.manifest().find(id).map_err(refused)?;
        }
        let (to, messages) = mpsc::channel(BUFFERED);
        let office = self.clone();
        // It goes on when whoever asked leaves: what came by then is not lost.
        tokio::spawn(async move {
            for id in ids {
                let (teller, source) = (to.clone(), source.clone());
                let install = move |store: &Store| {
                    // Whoever does not listen misses something.
                    store.install(&id, &source, &mut |progress| drop(teller.try_send(Ok(told(progress)))))
                };
                let last = match office.models.change(install).await {
                    Ok(record) => {
                        tracing::info!(model = record.id, source = record.source, "a model was installed");
                        let installed = office.known_model(&record.id).unwrap_or_default();
                        let (what, step) = (record.id, "installed".into());
                        Ok(InstallModelsProgress {
                            what,
                            step,
                            installed,
                            ..InstallModelsProgress::default()
                        })
                    }
                    Err(err) => {
                        tracing::warn!(error = %err, source = ?err.source, "a model was not installed");
                        Err(failed(err))
                    }
                };
                let is_over = last.is_err();
                // Whoever asked may have left: the rest is installed all the same.
                let _ = to.send(last).await;
                if is_over {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn remove(
        &self,
        request: Request<RemoveModelRequest>,
    ) -> Result<Response<RemoveModelResponse>, Status> {
        let id = request.into_inner().id;
        tracing::info!(model = id, "a model is removed");
        self.models.change(move |store| store.remove(&id)).await.map_err(refused)?;
        Ok(Response::new(RemoveModelResponse {}))
    }

    async fn verify(
        &self,
        request: Request<VerifyModelsRequest>,
    ) -> Result<Response<VerifyModelsResponse>, Status> {
        let mut ids = request.into_inner().ids;
        if ids.is_empty() {
            let installed =
                self.known_models().map_err(refused)?.into_iter().filter(|model| model.is_installed);
            ids = installed.map(|model| model.id).collect();
        }
        let verify = move |store: &Store| {
            let verified = ids.into_iter().map(|id| {
                let faults = store.verify(&id)?;
                Ok(VerifiedModel { id, faults })
            });
            verified.collect::<Result<_, Error>>()
        };
        let models = self.models.change(verify).await.map_err(refused)?;
        Ok(Response::new(VerifyModelsResponse { models }))
    }

    async fn bench(
        &self,
        request: Request<BenchModelRequest>,
    ) -> Result<Response<BenchModelResponse>, Status> {
        let BenchModelRequest { id, mut texts, question } = request.into_inner();
        let model = self.models.manifest().find(&id).map_err(refused)?;
        let is_embedding = model.task.is_embedding();
        if texts.is_empty() {
            texts = [QUESTION, PARAGRAPH].iter().cycle().take(TEXTS).map(|text| (*text).to_owned()).collect();
        }
        let question = if question.is_empty() { QUESTION.to_owned() } else { question };
        let question = (!is_embedding).then_some(question);
        let measured = self.models.measure(&id, &texts, question.as_deref()).await;
        let (results, speed) = measured.map_err(failed)?;
        let nearest = if is_embedding {
            nearest(&results)
        } else {
            let scores = results.iter().zip(0..);
            scores
                .map(|(score, text)| Nearest { text, similarity: score.first().copied().unwrap_or_default() })
                .collect()
        };
        Ok(Response::new(BenchModelResponse {
            texts: u32::try_from(speed.texts).unwrap_or(u32::MAX),
            tokens: speed.tokens,
            seconds: speed.took.as_secs_f64(),
            first_seconds: speed.first.as_secs_f64(),
            nearest,
        }))
    }
}

/// What is missing is not a daemon that is away, which `Unavailable` would say to skynetctl.
fn failed(err: Error) -> Status {
    match err.kind {
        skynet_core::ErrorKind::Unavailable | skynet_core::ErrorKind::Conflict => {
            Status::failed_precondition(err.message)
        }
        _ => refused(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_of_a_vector_is_never_itself() {
        let vectors = [vec![1.0, 0.0], vec![0.0, 1.0], vec![0.8, 0.6]];
        let found: Vec<_> = nearest(&vectors).iter().map(|one| one.text).collect();
        assert_eq!(found, [2, 2, 0]);
        assert_eq!(nearest(&vectors[..1])[0].text, 0);
    }
}
