//! Who is let in, and what is told to whom.

use super::*;
use crate::testing::server::Request;

const BASIC: &str = "Basic aHVsbDpzZWNyZXQ="; // hull:secret

/// Options with a Docker configuration file that holds `auth` for `host`.
fn with_credentials(dir: &TempDir, host: &str, auth: &str) -> PullOptions {
    let file = dir.path().join("docker.json");
    std::fs::write(&file, format!(r#"{{"auths": {{"{host}": {auth}}}}}"#)).unwrap();
    let mut options = options();
    options.registries.credentials = Some(file);
    options
}

/// A registry behind a token server on the same port. Each token is good for `uses` requests.
fn token_server(uses: usize, grant: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Server {
    let issued = Mutex::new((0_usize, 0_usize));
    Server::with(move |request, _| {
        let mut issued = issued.lock().unwrap();
        if request.path.starts_with("/token") {
            if !grant(request) {
                return Some(Answer::new(401, br#"{"details": "who?"}"#));
            }
            issued.0 += 1;
            issued.1 = 0;
            let body = format!(r#"{{"token": "token-{}", "expires_in": 60}}"#, issued.0);
            return Some(Answer::new(200, body.as_bytes()));
        }
        if request.path == "/v2/" {
            return None;
        }
        issued.1 += 1;
        let good = format!("Bearer token-{}", issued.0);
        if request.header("authorization") == Some(&good) && issued.1 <= uses {
            return None;
        }
        let realm = format!(
            r#"Bearer realm="http://{}/token",service="hull test",scope="repository:app:pull""#,
            request.header("host").unwrap()
        );
        Some(Answer::new(401, b"").with("www-authenticate", &realm))
    })
}

#[tokio::test]
async fn a_token_is_fetched_and_renewed() {
    let server = token_server(2, |request| {
        request.path.contains("scope=repository%3Aapp%3Apull")
            && request.path.contains("service=hull+test")
            && request.header("authorization").is_none()
    });
    server.put("app", "latest", &sample());
    let (_dir, store) = store();
    let mut options = options();
    options.registries.downloads = 1;
    pull(&store, &format!("{}/app", server.host()), &options)
        .await
        .unwrap();
    // Five requests, two of them per token.
    assert_eq!(server.count("/token"), 3);
}

#[tokio::test]
async fn the_token_server_gets_the_password_and_the_registry_does_not() {
    let server = token_server(usize::MAX, |request| {
        request.header("authorization") == Some(BASIC) && request.path.contains("account=hull")
    });
    server.put("app", "latest", &sample());
    let (dir, store) = store();
    let name = format!("{}/app", server.host());
    let error = pull(&store, &name, &options()).await.unwrap_err();
    assert!(error.to_string().contains("refuses access"), "{error}");
    let auth = r#"{"auth": "aHVsbDpzZWNyZXQ="}"#;
    let options = with_credentials(&dir, &server.host(), auth);
    pull(&store, &name, &options).await.unwrap();
    let seen = server.seen();
    let registry = seen.iter().filter(|one| one.path.starts_with("/v2/"));
    for request in registry {
        assert_ne!(request.header("authorization"), Some(BASIC));
    }
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = token_server(usize::MAX, |request| {
        request.method == "POST"
            && request.body.contains("grant_type=refresh_token")
            && request.body.contains("refresh_token=identity")
    });
    server.put("app", "latest", &sample());
    let (dir, store) = store();
    let auth = r#"{"identitytoken": "identity"}"#;
    let options = with_credentials(&dir, &server.host(), auth);
    pull(&store, &format!("{}/app", server.host()), &options)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_redirection_to_another_host_carries_no_credentials() {
    let storage = Server::start();
    let sample = sample();
    storage.put("app", "latest", &sample);
    let target = storage.host();
    let server = Server::with(move |request, _| {
        if request.path != "/v2/" && request.header("authorization") != Some(BASIC) {
            let basic = Answer::new(401, b"").with("www-authenticate", "Basic realm=\"x\"");
            return Some(basic);
        }
        let to = format!("http://{target}{}", request.path);
        let blob = request.path.contains("/blobs/");
        blob.then(|| Answer::new(307, b"").with("location", &to))
    });
    server.put("app", "latest", &sample);
    let (dir, store) = store();
    let auth = r#"{"auth": "aHVsbDpzZWNyZXQ="}"#;
    let options = with_credentials(&dir, &server.host(), auth);
    pull(&store, &format!("{}/app", server.host()), &options)
        .await
        .unwrap();
    let seen = storage.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|one| one.header("authorization").is_none()));
}

#[tokio::test]
async fn without_credentials_the_message_says_how_to_log_in() {
    let server = Server::with(|request, _| {
        let closed = request.path != "/v2/";
        closed.then(|| Answer::new(401, b"").with("www-authenticate", "Basic realm=\"x\""))
    });
    let (dir, store) = store();
    let name = format!("{}/app", server.host());
    let error = pull(&store, &name, &options())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("hull login {}", server.host())),
        "{error}"
    );
    let auth = r#"{"auth": "aHVsbDpzZWNyZXQ="}"#;
    let options = with_credentials(&dir, &server.host(), auth);
    let error = pull(&store, &name, &options).await.unwrap_err().to_string();
    assert!(error.contains("does not accept the credentials"), "{error}");
}
