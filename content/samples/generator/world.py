"""The customers: their hosts and who works at them.

All names are invented; addresses are private or reserved for documentation.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    name: str
    ip: str
    os: str  # windows or linux
    role: str  # desk, server, web, database, build, game: decides what is ordinary there
    user: str  # whoever usually works at it


@dataclass(frozen=True)
class Tenant:
    tenant_id: str
    short: str  # in event ids
    domain: str  # Windows domain, and the name of the intranet
    hosts: tuple
    ordinary: int  # events in envelopes that are nothing special
    raw: int = 0  # the same without an envelope, from the hosts in raw_hosts
    raw_hosts: tuple = ()
    bursts: tuple = ()  # (from second, to second, events a second) beyond what is ordinary

    def host(self, name):
        return next(host for host in self.hosts if host.name == name)


def desks(prefix, network, domain, people):
    """A Windows workstation for each of `people`."""
    return tuple(
        Host(f"{prefix}{number:04}", f"{network}.{number % 250}", "windows", "desk", f"{domain}\\{person}")
        for number, person in enumerate(people, 101)
    )


def machines(os, role, user, named):
    """Servers from pairs of name and address."""
    return tuple(Host(name, ip, os, role, user) for name, ip in named)


SYSTEM = "NT AUTHORITY\\SYSTEM"

ACME = Tenant(
    "acme-health",
    "acme",
    "ACME",
    desks(
        "ws-",
        "10.20.7",
        "ACME",
        "a.kern b.osei c.lind d.ruiz e.sato f.novak g.haas h.pires i.berg j.moss k.adeyemi l.wong "
        "n.fischer m.ito o.quist p.rao r.dunn s.ek t.vance u.lopez".split(),
    )
    + machines("windows", "server", SYSTEM, (("FS02", "10.20.4.11"), ("DC01", "10.20.4.2"), ("APP01", "10.20.4.30")))
    + machines("linux", "web", "root", (("portal-1", "10.20.5.10"), ("portal-2", "10.20.5.11"))),
    ordinary=1370,
    raw=190,
    raw_hosts=("FS02", "DC01"),
)
HARBOR = Tenant(
    "harbor-bank",
    "harbor",
    "HARBOR",
    desks(
        "hb-ws-",
        "10.40.7",
        "HARBOR",
        "r.vogel k.amadi l.brandt m.chen n.dahl o.evans p.frey q.gomez s.holt t.ivanov u.jansen "
        "v.kaur w.lund x.mori y.nunez z.okafor".split(),
    )
    + machines(
        "windows", "server", SYSTEM, (("jump-01", "10.40.1.5"), ("fs-treasury", "10.40.2.9"), ("hb-dc01", "10.40.1.2"))
    )
    + machines("linux", "database", "postgres", (("ledger-db-1", "10.40.3.20"), ("ledger-db-2", "10.40.3.21"))),
    ordinary=1180,
    raw=190,
    raw_hosts=("fs-treasury", "hb-dc01"),
)
NORTHWIND = Tenant(
    "northwind-retail",
    "northwind",
    "NORTHWIND",
    machines("linux", "web", "www-data", (("web-01", "10.30.1.15"), ("web-02", "10.30.1.16"), ("web-03", "10.30.1.17")))
    + machines("linux", "database", "postgres", (("db-01", "10.30.1.40"),))
    + machines("linux", "build", "deploy", (("build-01", "10.30.1.50"),))
    + desks("till-", "10.30.9", "NORTHWIND", "till1 till2 till3 till4 till5 till6".split()),
    ordinary=1150,
)
PIXEL = Tenant(
    "pixel-games",
    "pixel",
    "PIXEL",
    machines("linux", "game", "game", tuple((f"gs-eu-{n}", f"10.50.1.{10 + n}") for n in range(1, 9)))
    + machines("linux", "build", "ci", (("ci-01", "10.50.2.5"), ("ci-02", "10.50.2.6")))
    + desks("px-", "10.50.3", "PIXEL", "ada bo cy dee".split()),
    ordinary=430,
    bursts=((84.0, 100.0, 46.0), (172.0, 183.0, 46.0)),
)
CIVIC = Tenant(
    "civic-works",
    "civic",
    "CIVIC",
    desks("cw-", "10.60.7", "CIVIC", "aldo bea cora dirk elsa finn gwen hugo".split()),
    ordinary=420,
)
OLD_MILL = Tenant("old-mill", "oldmill", "OLDMILL", desks("om-", "10.70.7", "OLDMILL", ["miller"]), ordinary=14)

TENANTS = (ACME, HARBOR, NORTHWIND, PIXEL, CIVIC, OLD_MILL)
