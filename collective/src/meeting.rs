//! How processes that know one address find each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::ffi::{Backend, Store};
use crate::pulse::Pulse;
use crate::{Error, Patience, Place};

/// How often it is looked whether somebody has come.
const GLANCE: Duration = Duration::from_millis(20);

/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(2);

/// What processes have once they have met.
pub(crate) struct Meeting {
    pub(crate) store: Store,
    pub(crate) pulse: Pulse,
    pub(crate) gloo: Backend,
}

/// Waits for all processes.
///
/// # Errors
/// [`Error`], naming what is in the way.
pub(crate) fn meet(place: &Place, patience: Patience) -> Result<Meeting, Error> {
    let deadline = Instant::now() + patience.joining;
    let master = reached(place, deadline, patience.joining)?;
    let own = own_address(place, master)?;
    let open = |serves| {
        let host = master.ip().to_string();
        Store::open(&host, master.port(), serves, patience.joining)
    };
    let store = if place.rank == 0 {
        open(true)
            .map_err(|error| Error::Listen { address: written(place), reason: error.to_string() })?
    } else {
        open(false)?
    };
    let Place { rank, world_size, .. } = *place;
    if store.add(&format!("taken/{rank}"), 1)? != 1 {
        return Err(Error::Twice { rank });
    }
    let names = (0..world_size).map(|rank| called(rank, world_size, None)).collect();
    let pulse = Pulse::begin(open(false)?, rank, names, patience.silence)?;
    match introduced(place, own, (&store, &pulse), patience) {
        Ok(gloo) => Ok(Meeting { store, pulse, gloo }),
        Err(error) => {
            pulse.tell_end(&error.to_string());
            Err(error)
        }
    }
}

/// Tells who this process is, learns who the others are, and connects with them.
fn introduced(
    place: &Place,
    own: IpAddr,
    (store, pulse): (&Store, &Pulse),
    patience: Patience,
) -> Result<Backend, Error> {
    let Place { rank, world_size: size, .. } = *place;
    let deadline = Instant::now() + patience.joining;
    same_size(store, place, deadline)?;
    store.set(&format!("who/{rank}"), format!("{} at {own}", host_name()).as_bytes())?;
    let mut names = Vec::new();
    for other in 0..size {
        let key = format!("who/{other}");
        if !come(store, pulse, &key, deadline)? {
            let absent = |other: &usize| !store.has(&format!("who/{other}")).unwrap_or(false);
            let missing: Vec<usize> = (0..size).filter(absent).collect();
            return Err(Error::Missing { missing, size, waited: patience.joining });
        }
        let who = String::from_utf8_lossy(&store.get(&key)?).into_owned();
        names.push(called(other, size, Some(&who)));
    }
    pulse.rename(names);
    Backend::gloo(store, (rank, size), &own.to_string(), patience.joining)
        .map_err(|error| pulse.verdict().unwrap_or(error))
}

/// The environment's words for where process 0 is.
fn written(place: &Place) -> String {
    format!("{}:{}", place.master_addr, place.master_port)
}

fn called(rank: usize, size: usize, who: Option<&str>) -> String {
    let whose = who.map(|who| format!(", {who}")).unwrap_or_default();
    format!("the process RANK={rank} (of {size}{whose})")
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    format!("host {}", if name.is_empty() { "without a name" } else { name })
}

/// Where process 0 is; of the others each waits there until it answers.
fn reached(place: &Place, deadline: Instant, waited: Duration) -> Result<SocketAddr, Error> {
    let mut reason = "no address".to_owned();
    let mut known = Vec::new();
    loop {
        match (place.master_addr.as_str(), place.master_port).to_socket_addrs() {
            Ok(addresses) => known = addresses.collect(),
            Err(error) => reason = error.to_string(),
        }
        for address in &known {
            if place.rank == 0 {
                return Ok(*address);
            }
            match TcpStream::connect_timeout(address, ATTEMPT) {
                Ok(_) => return Ok(*address),
                Err(error) => reason = error.to_string(),
            }
        }
        if known.is_empty() && place.rank == 0 {
            return Err(Error::Address { address: written(place), reason });
        }
        if Instant::now() > deadline {
            return Err(Error::NobodyAnswers { address: written(place), waited, reason });
        }
        thread::sleep(5 * GLANCE);
    }
}

/// The address of this machine from which `master` is reached: the one by which the others reach this
/// machine. Nothing is sent.
fn own_address(place: &Place, master: SocketAddr) -> Result<IpAddr, Error> {
    let any: IpAddr = match master {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let routed = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(master)?;
        Ok(socket.local_addr()?.ip())
    };
    routed().map_err(|error: std::io::Error| Error::Address {
        address: written(place),
        reason: error.to_string(),
    })
}

/// Refuses a process that counts others than process 0 does.
fn same_size(store: &Store, place: &Place, deadline: Instant) -> Result<(), Error> {
    let own = place.world_size.to_string();
    if place.rank == 0 {
        return store.set("size", own.as_bytes());
    }
    while !store.has("size")? && Instant::now() < deadline {
        thread::sleep(GLANCE);
    }
    let first = String::from_utf8_lossy(&store.get("size")?).into_owned();
    if first == own {
        return Ok(());
    }
    let who = called(place.rank, place.world_size, None);
    Err(Error::Disagree { who, what: "WORLD_SIZE".to_owned(), first, theirs: own })
}

/// Waits for a key, as long as all live.
fn come(store: &Store, pulse: &Pulse, key: &str, deadline: Instant) -> Result<bool, Error> {
    loop {
        if let Some(verdict) = pulse.verdict() {
            return Err(verdict);
        }
        if store.has(key).map_err(|error| pulse.awaited_verdict().unwrap_or(error))? {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        thread::sleep(GLANCE);
    }
}
