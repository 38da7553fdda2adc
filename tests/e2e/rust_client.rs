//! The Rust SDK's client through the shim and over HTTP, in each of its modes.

use rmcp::{
    ErrorData, RoleClient, Service,
    model::{CallToolRequestParams, ClientConfig, ProtocolVersion},
    service::{ClientLifecycleMode, ClientServiceExt as _, RunningService},
    transport::{
        StreamableHttpClientTransport, TokioChildProcess,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::json;
use skynet_tests::{
    programs::{Daemon, Home},
    web::Web,
};
use std::fs;

async fn drive<S: Service<RoleClient>>(client: RunningService<RoleClient, S>) -> Result<(), ErrorData> {
    assert!(client.list_all_tools().await.unwrap().len() >= 20);
    let arguments = json!({ "path": "f" }).as_object().cloned().unwrap();
    let call = CallToolRequestParams::new("files_read").with_arguments(arguments);
    let read = client.call_tool(call).await.unwrap();
    assert_eq!(read.structured_content.unwrap()["content"], "content\n");
    assert!(client.list_all_prompts().await.unwrap().len() >= 5);
    client.cancel().await.unwrap();
    Ok(())
}

#[tokio::test]
async fn rmcp() {
    let home = Home::new();
    home.configure("[http]\nlisten = '127.0.0.1:0'\n");
    fs::write(home.project.join("f"), "content\n").unwrap();
    let _daemon = Daemon::start(&home);
    let web = Web::connect(&home, "rmcp", &["read"]);
    let newest = vec![ProtocolVersion::LATEST];
    for mode in [
        ClientLifecycleMode::Initialize,
        ClientLifecycleMode::Discover { preferred_versions: newest.clone() },
        ClientLifecycleMode::Auto { preferred_versions: newest.clone(), legacy_version: None },
    ] {
        let mut shim = tokio::process::Command::from(home.command("skynet-shim"));
        shim.arg("--socket").arg(home.socket()).arg("--workspace").arg(&home.project);
        let transport = TokioChildProcess::new(shim).unwrap();
        let client = ClientConfig::default().serve_with_lifecycle(transport, mode.clone()).await.unwrap();
        drive(client).await.unwrap();

        let config = StreamableHttpClientTransportConfig::with_uri(format!("http://{}/mcp", web.address))
            .auth_header(web.token.clone());
        let transport = StreamableHttpClientTransport::from_config(config);
        let client = ClientConfig::default().serve_with_lifecycle(transport, mode).await.unwrap();
        drive(client).await.unwrap();
    }
}
