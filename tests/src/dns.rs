//! A name server that leads every name to one address and remembers what it was asked: nobody can look up a name in a
//! world that has it without being seen, and whoever follows a wrong name arrives at the emulated servers.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

use crate::world::World;

/// The header of a message (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];

/// A running name server; it ends when it is dropped.
pub struct NameServer {
    address: SocketAddr,
    questions: Arc<Mutex<Vec<String>>>,
    serving: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Becomes the only name server of this world. Names in its hosts file never come here, all others lead to 127.0.0.1.
    pub fn start(world: &World) -> Result<Self> {
        Self::leading_to(world, Ipv4Addr::LOCALHOST)
    }

    /// The same, with names that lead to this address.
    pub fn leading_to(_world: &World, everybody: Ipv4Addr) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).context("cannot listen for DNS")?;
        fs::write("/etc/resolv.conf", "nameserver 127.0.0.1\n").context("/etc/resolv.conf")?;
        let address = socket.local_addr()?;
        let questions = Arc::new(Mutex::new(Vec::new()));
        let serving = thread::spawn({
            let questions = questions.clone();
            move || serve(&socket, &questions, everybody)
        });
        Ok(Self { address, questions, serving: Some(serving) })
    }

    /// The names that were asked for, in the order of the questions.
    #[must_use]
    pub fn questions(&self) -> Vec<String> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(socket: &UdpSocket, questions: &Mutex<Vec<String>>, everybody: Ipv4Addr) {
    let mut buffer = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let message = &buffer[..length];
        // An empty message is how dropping ends this thread.
        if message.is_empty() {
            return;
        }
        let Some((name, end)) = question(message) else { continue };
        questions.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        // A client that does not wait for the answer is no reason to end.
        let _ = socket.send_to(&answer(message, end, everybody), client);
    }
}

/// The name in the first question, and where the question ends.
fn question(message: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at + 4)).filter(|(_, end)| *end <= message.len());
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).into_owned());
        at += length;
    }
}

/// The address of everybody for an IPv4 address, nothing for anything else.
fn answer(message: &[u8], end: usize, everybody: Ipv4Addr) -> Vec<u8> {
    let known = message[end - 4..end - 2] == TYPE_A;
    let mut answer = message[..2].to_vec();
    // A response, recursion available, no error; one question, one answer or none.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(known), 0, 0, 0, 0]);
    answer.extend(&message[HEADER..end]);
    if known {
        // The name of the question, its type and class, a minute to live, four bytes of address.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(everybody.octets());
    }
    answer
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let woken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.send_to(&[], self.address));
        if let (Ok(_), Some(serving)) = (woken, self.serving.take()) {
            let _ = serving.join();
        }
    }
}
