//! Paths, and what they answer. `docs/monitor.md` describes them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use pagekeeper::monitor::{MonitorError, Observer, ProcessSummary, Processes};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::access::{Access, Credentials, Verdict};
use super::metrics;
use super::watch::{Message, Seat, Watches};
use crate::failure::Failure;
use crate::picture::{self, Body, Document, SECURITY_POLICY};
use crate::status;

/// A comment so often keeps a silent connection from being cut.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What all answers are made from.
pub(super) struct Server {
    watches: Arc<Watches>,
    processes: Mutex<Processes>,
    access: Access,
    /// The only process that is shown. Another one that gets its number later is not it.
    only: Option<(u32, Mutex<Observer>)>,
}

/// Where the server listens; needed to find out whose a connection is.
#[derive(Clone)]
struct Shared {
    server: Arc<Server>,
    own: SocketAddr,
}

/// Why there is no other answer: one line.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

impl From<MonitorError> for Refusal {
    fn from(error: MonitorError) -> Self {
        let status = match &error {
            MonitorError::NoSuchProcess { .. } | MonitorError::NoMemory { .. } => {
                StatusCode::NOT_FOUND
            }
            MonitorError::NotPermitted { .. }
            | MonitorError::NotDumpable { .. }
            | MonitorError::RefusedToRoot { .. } => StatusCode::FORBIDDEN,
            MonitorError::Exited { .. } => StatusCode::GONE,
            MonitorError::Silent { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(
            StatusCode::INTERNAL_SERVER_ERROR,
            failure.message().unwrap_or_default(),
        )
    }
}

type Answer = Result<Response, Refusal>;

impl Server {
    /// # Errors
    /// Where `only` cannot be looked at.
    pub(super) fn new(
        watches: Arc<Watches>,
        access: Access,
        only: Option<u32>,
    ) -> Result<Arc<Self>, MonitorError> {
        let only = only
            .map(|pid| Observer::of(pid).map(|observer| (pid, Mutex::new(observer))))
            .transpose()?;
        Ok(Arc::new(Self {
            watches,
            processes: Mutex::new(Processes::new()),
            access,
            only,
        }))
    }

    /// The number of the only process that is shown.
    fn only(&self) -> Option<u32> {
        self.only.as_ref().map(|(pid, _)| *pid)
    }

    /// Looks at a process that is shown.
    fn look<T>(
        &self,
        pid: u32,
        look: impl Fn(&mut Observer) -> Result<T, MonitorError>,
    ) -> Result<T, MonitorError> {
        match &self.only {
            Some((_, observer)) => {
                look(&mut observer.lock().unwrap_or_else(PoisonError::into_inner))
            }
            None => look(&mut Observer::of(pid)?),
        }
    }

    /// What is printed for whoever started the server.
    pub(super) fn greeting(&self, address: SocketAddr) -> String {
        let what = self
            .only()
            .map_or("all processes that you may look into".to_owned(), |pid| {
                format!("process {pid}")
            });
        let token = self
            .access
            .token()
            .map_or(String::new(), |token| format!("?token={token}"));
        format!("http://{address}/{token} shows {what}; Ctrl-C ends it\n")
    }

    /// Answers for ever.
    pub(super) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        own: SocketAddr,
    ) -> std::io::Result<()> {
        let shared = Shared { server: self, own };
        let routes = Router::new()
            .route("/", get(page))
            .route("/metrics", get(prometheus))
            .route("/api/v1/machine", get(machine))
            .route("/api/v1/processes", get(processes))
            .route("/api/v1/processes/{pid}", get(figures))
            .route("/api/v1/processes/{pid}/snapshot", get(snapshot))
            .route("/api/v1/processes/{pid}/events", get(events))
            .fallback(nowhere)
            .layer(middleware::from_fn_with_state(shared.clone(), guard))
            .with_state(shared);
        axum::serve(
            listener,
            routes.into_make_service_with_connect_info::<SocketAddr>(),
        )
        .await
    }

    fn shown(&self, pid: &str) -> Result<u32, Refusal> {
        let pid = pid.parse().map_err(|_| {
            Refusal(
                StatusCode::NOT_FOUND,
                format!("'{pid}' is no process number"),
            )
        })?;
        match self.only() {
            Some(only) if only != pid => Err(Refusal(
                StatusCode::NOT_FOUND,
                format!("this server shows process {only} only"),
            )),
            _ => Ok(pid),
        }
    }

    /// Processes with their figures: all, or the only one.
    fn summaries(&self) -> Result<Vec<ProcessSummary>, MonitorError> {
        let Some(pid) = self.only() else {
            return self
                .processes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .refresh();
        };
        Ok(vec![self.look(pid, Observer::figures)?.into()])
    }
}

/// Looks into processes where waiting for the kernel keeps no other reader waiting.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(Refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                error.to_string(),
            ))
        })
}

fn as_json(value: &impl Serialize) -> Answer {
    let text = serde_json::to_string(value)
        .map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Nothing is answered before it is known who asks.
async fn guard(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match verdict(&shared, peer, &request) {
        Verdict::Allowed => next.run(request).await,
        Verdict::Refused(why) => Refusal(StatusCode::FORBIDDEN, why).into_response(),
        Verdict::TakeCookie(cookie) => {
            let place = without_token(request.uri());
            let headers = [(header::SET_COOKIE, cookie), (header::LOCATION, place)];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
    };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn verdict(shared: &Shared, peer: SocketAddr, request: &Request) -> Verdict {
    let text = |name| {
        let value = request.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let credentials = Credentials {
        host: text(header::HOST),
        authorization: text(header::AUTHORIZATION),
        cookie: text(header::COOKIE),
        query: request.uri().query().unwrap_or_default(),
    };
    shared.server.access.judge(&credentials, peer, shared.own)
}

/// Where to go on, with nothing in the address that a history would keep.
fn without_token(uri: &Uri) -> String {
    let words = uri.query().unwrap_or_default().split('&');
    let kept: Vec<&str> = words
        .filter(|word| !word.is_empty() && !word.starts_with("token="))
        .collect();
    let question = if kept.is_empty() { "" } else { "?" };
    // A path that begins with two slashes would lead to another server.
    let path = uri.path().trim_start_matches('/');
    format!("/{path}{question}{}", kept.join("&"))
}

async fn page(State(shared): State<Shared>) -> Answer {
    let page = picture::html(
        Body::Live,
        "Pagekeeper",
        &json!({ "pid": shared.server.only() }),
    )?;
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response())
}

async fn nowhere() -> Refusal {
    let paths = "/, /metrics, /api/v1/machine, /api/v1/processes, /api/v1/processes/PID, .../snapshot, .../events";
    Refusal(
        StatusCode::NOT_FOUND,
        format!("nothing is here; there are {paths}"),
    )
}

async fn machine(State(shared): State<Shared>) -> Answer {
    let only = shared.server.only();
    let machine = aside(move || Ok(status::machine(only)?)).await?;
    as_json(&machine)
}

async fn processes(State(shared): State<Shared>) -> Answer {
    let list = aside(move || Ok(shared.server.summaries()?)).await?;
    as_json(&list)
}

async fn prometheus(State(shared): State<Shared>) -> Answer {
    let list = aside(move || Ok(shared.server.summaries()?)).await?;
    Ok((
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        metrics::text(&list),
    )
        .into_response())
}

async fn figures(State(shared): State<Shared>, Path(pid): Path<String>) -> Answer {
    let pid = shared.server.shown(&pid)?;
    let figures = aside(move || Ok(shared.server.look(pid, Observer::figures)?)).await?;
    as_json(&figures)
}

async fn snapshot(State(shared): State<Shared>, Path(pid): Path<String>) -> Answer {
    let pid = shared.server.shown(&pid)?;
    let snapshot = aside(move || Ok(shared.server.look(pid, Observer::snapshot)?)).await?;
    let document = Document::of(snapshot);
    as_json(&document)
}

async fn events(State(shared): State<Shared>, Path(pid): Path<String>) -> Answer {
    let pid = shared.server.shown(&pid)?;
    let seat = aside(move || Ok(shared.server.watches.of(pid)?)).await?;
    let keep_alive = sse::KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(told(seat)).keep_alive(keep_alive).into_response())
}

/// All so far, then every look; a reader that fell behind is told everything anew.
fn told(seat: Seat) -> impl Stream<Item = Result<sse::Event, std::convert::Infallible>> {
    type Reader = (Seat, Option<Receiver<Arc<Message>>>);
    stream::unfold((seat, None), |(seat, receiver): Reader| async move {
        if let Some(mut receiver) = receiver {
            match receiver.recv().await {
                Ok(message) => return Some((event(&message), (seat, Some(receiver)))),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
        let (hello, receiver) = seat.watch().follow();
        Some((event(&hello), (seat, Some(receiver))))
    })
}

fn event(message: &Message) -> Result<sse::Event, std::convert::Infallible> {
    Ok(sse::Event::default()
        .event(message.event)
        .data(&message.data))
}
