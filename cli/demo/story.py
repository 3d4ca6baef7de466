"""What happens, told from a seed: players come by ads, register, pay in, play, stop for a while, and come back.

Hours of play are told in the time of the demo, so that sessions and settlements have their usual lengths. Nothing here
looks at a clock, so that the same seed tells the same story.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from cli.demo import vendors
from cli.demo.event import Event

EVENTS_A_SECOND = 0.09
"""Of one seat, roughly: how many players there have to be at once follows from it."""
SPAN = 6 * 3600.0
"""Longest time of play that is told, seconds."""
SEATS = 4
HOUR = 3_600_000
GAMES = (("slot", "EA"), ("slot", "Novo"), ("roulette", "Evolution"), ("sports", "GGP"), ("poker", "GGP"))
INSTANT = 3
"""So many of those settle at once: pattern A."""
CAMPAIGNS = ("summer_2026", "retarget_eu", "friends")
CURRENCIES = ("EUR", "EUR", "EUR", "USD", "USD", "GBP", "BTC")
DOUBLE, ORPHANED, SETTLED, LATE = 0.02, 0.02, 0.85, 0.05


@dataclass(slots=True)
class Player:
    """Who plays."""

    id: str
    device: str
    currency: str
    campaign: str

    def amount(self, units: int) -> Decimal:
        """Hundredths of the currency; of bitcoin 10^-8."""
        return Decimal(units).scaleb(-8 if self.currency == "BTC" else -2)

    def money(self, amount: Decimal) -> dict[str, Any]:
        """An amount as revosurge has it: crypto as text, whose digits no client rounds."""
        crypto = self.currency == "BTC"
        shown = f"{amount:f}" if crypto else vendors.number(amount)
        return {"amount": shown, "currency": self.currency, "is_crypto": crypto}


Scene = Iterator[float]
"""Something that goes on; gives the seconds until it goes on again."""


def cast(total: int, lateness: int) -> tuple[int, float]:
    """(how many players are there at once, how many seconds are told) for so many events. Milliseconds of lateness."""
    longest = min(SPAN, lateness / 4000)
    seats = max(SEATS, round(total / (longest * EVENTS_A_SECOND)))
    return seats, total / (seats * EVENTS_A_SECOND)


class Story:
    """Iterate over it for its events, without end, in the order in which they are told."""

    def __init__(self, seed: str, begin: int, seats: int, lateness: int, registered: dict[str, str]) -> None:
        """``begin`` and ``lateness`` in milliseconds; ``registered`` are absinthe's event ids by name."""
        self._rng = Random(seed)  # noqa: S311 - no secret
        self._begin, self._lateness, self._registered = begin, lateness, registered
        self._now = 0.0
        self._ids = count(1)
        self._away: list[Player] = []
        self._told: list[Event] = []
        self._last: dict[str, int] = {}
        self._scenes: list[tuple[float, int, Scene]] = []
        for _ in range(seats):
            self._enter(self._rng.uniform(0, 60), self._seat())

    def __iter__(self) -> Iterator[Event]:
        while True:
            self._now, _, scene = heappop(self._scenes)
            pause = next(scene, None)
            if pause is not None:
                self._enter(pause, scene)
            yield from self._told
            self._told.clear()

    def _enter(self, pause: float, scene: Scene) -> None:
        heappush(self._scenes, (self._now + pause, next(self._ids), scene))

    def _at(self, identity: str) -> int:
        """Now, and behind everything that was told of the player before."""
        at = self._last[identity] = max(self._begin + int(self._now * 1000), self._last.get(identity, 0) + 1)
        return at

    def _id(self, kind: str) -> str:
        return f"{kind}-{next(self._ids):08x}"

    def _tell(self, event: Event, **more: Any) -> None:
        for name, value in more.items():
            setattr(event, name, value)
        self._told.append(event)

    # Scenes

    def _seat(self) -> Scene:
        """One player after another."""
        rng = self._rng
        while True:
            if self._away and rng.random() < 0.7:
                player = self._away.pop(rng.randrange(len(self._away)))
            else:
                player = Player(self._id("player"), self._id("device"), rng.choice(CURRENCIES), rng.choice(CAMPAIGNS))
                yield from self._arrival(player)
            yield from self._visit(player)
            self._away.append(player)
            yield rng.uniform(5, 30)

    def _arrival(self, player: Player) -> Scene:
        """From an impression to the first deposit; some who see the ad never come."""
        rng, device = self._rng, {"device_id": player.device}
        utm = {"source": "facebook", "medium": "cpc", "campaign": player.campaign}
        payload = {"campaign_id": player.campaign, "creative_id": f"video_v{rng.randrange(4)}"}
        for lost in range(rng.choice((0, 0, 1, 2)), -1, -1):
            seen = {"device_id": self._id("device")} if lost else device
            self._tell(vendors.gamerebellion(self._at(seen["device_id"]), seen, "impression", payload, utm))
            yield rng.uniform(2, 20)
        click = self._id("click")
        clicked = {**payload, "click_id": click}
        self._tell(vendors.gamerebellion(self._at(player.device), device, "click", clicked, utm))
        yield rng.uniform(10, 120)
        fields = {"click_id": click, "ip_address": self._address(), "user_agent": "Mozilla/5.0 (demo)"}
        self._tell(vendors.revosurge(self._at(player.id), player.id, "register", **fields))
        both = {"player_id": player.id, "device_id": player.device}
        converted = {**clicked, "conversion_type": "registration"}
        self._tell(vendors.gamerebellion(self._at(player.id), both, "conversion", converted, utm))
        if rng.random() < 0.3:
            signup = vendors.adwize(self._at(player.id), player.id, "signup", campaign_id=player.campaign, plan="pro")
            self._tell(signup)
        yield rng.uniform(5, 60)
        self._pay(player, "deposit", rng.randrange(1000, 50000))

    def _visit(self, player: Player) -> Scene:
        """A session: some end it, some just leave, some stop and come back."""
        rng = self._rng
        self._tell(vendors.session(self._at(player.id), player.id, "start"))
        yield rng.uniform(0, 3)
        self._tell(vendors.revosurge(self._at(player.id), player.id, "login", ip_address=self._address()))
        for _ in range(int(rng.expovariate(1 / 30)) + 3):
            yield rng.uniform(3, 20)
            self._act(player)
            if rng.random() < 0.01:
                self._tell(vendors.session(self._at(player.id), player.id, "stop"))
                yield rng.uniform(60, 900)
                self._tell(vendors.session(self._at(player.id), player.id, "start"))
        self._measure(player)
        if rng.random() < 0.6:
            yield rng.uniform(1, 10)
            self._tell(vendors.session(self._at(player.id), player.id, "end"))

    def _act(self, player: Player) -> None:
        """One thing that a player does."""
        rng, what = self._rng, self._rng.random()
        if what < 0.72:
            self._bet(player)
        elif what < 0.82:
            self._look(player)
        elif what < 0.88:
            page = rng.choice(("/lobby", "/cashier", "/promotions"))
            late, at = self._maybe_late(player)
            self._tell(vendors.adwize(at, player.id, "page_view", page=page), late=late)
        elif what < 0.91:
            price = player.amount(rng.choice((199, 499, 999)))
            buy = {"transaction_id": self._id("buy"), "value": vendors.number(price), "currency": player.currency}
            self._tell(vendors.adwize(self._at(player.id), player.id, "purchase", **buy))
        elif what < 0.94:
            self._pay(player, "deposit", rng.randrange(500, 20000))
        elif what < 0.96:
            self._pay(player, "withdraw", rng.randrange(500, 10000))
        else:
            points = {"amount": rng.randrange(1, 500), "currency": "POINTS", "reason": "level_up"}
            self._tell(vendors.scrip(self._at(player.id), player.id, "reward", self._id("reward"), **points))

    def _look(self, player: Player) -> None:
        late, at = self._maybe_late(player)
        payload = {"type": "menu", "name": self._rng.choice(("chat", "missions", "ranking"))}
        who = {"player_id": player.id, "device_id": player.device}
        self._tell(vendors.gamerebellion(at, who, "feature_use", payload), late=late)

    def _maybe_late(self, player: Player) -> tuple[bool, int]:
        """Now; or for a client that was offline, so long ago that it is late."""
        if self._rng.random() >= LATE:
            return False, self._at(player.id)
        ago = self._lateness + self._rng.randrange(HOUR, 48 * HOUR)
        return True, self._begin + int(self._now * 1000) - ago

    def _measure(self, player: Player) -> None:
        rng = self._rng
        name = rng.choice((*vendors.METRICS, vendors.UNREGISTERED))
        amount = rng.randrange(1, 60)
        self._tell(vendors.absinthe(self._at(player.id), player.id, name, amount, self._registered.get(name)))

    def _pay(self, player: Player, name: str, units: int) -> None:
        amount = player.amount(units)
        fields = {"transaction_id": self._id("pay"), "ip_address": self._address(), **player.money(amount)}
        event = vendors.revosurge(self._at(player.id), player.id, name, **fields)
        self._tell(event, amount=amount, currency=player.currency)

    def _bet(self, player: Player) -> None:
        """Pattern A where the game settles at once, else B; settled later, most of them."""
        rng = self._rng
        game = rng.randrange(len(GAMES))
        game_type, provider = GAMES[game]
        units = rng.randrange(10, 5000)
        stake, bet_id = player.amount(units), self._id("bet")
        fields = {"transaction_id": bet_id, "game_type": game_type, "game_provider": provider, **player.money(stake)}
        won = rng.random() < 0.42
        net = player.amount(int(units * rng.uniform(0.1, 2.5)) if won else -units)
        if game < INSTANT:
            result = {"bet_result": "win" if won else "loss", "bet_result_amount": player.money(net)["amount"]}
            event = vendors.revosurge(self._at(player.id), player.id, "bet", **fields, **result)
            self._tell(event, wager="placed", currency=player.currency, net=net, won=won)
            if rng.random() < DOUBLE:
                self._enter(rng.uniform(1, 30), self._settlement(player, bet_id, net, won, "double"))
            return
        reported = rng.random() >= ORPHANED
        if reported:
            event = vendors.revosurge(self._at(player.id), player.id, "bet", **fields)
            self._tell(event, wager="placed", currency=player.currency)
        if not reported or rng.random() < SETTLED:
            kind = "settled" if reported else "orphaned"
            self._enter(rng.expovariate(1 / 300), self._settlement(player, bet_id, net, won, kind))

    def _settlement(self, player: Player, bet_id: str, net: Decimal, won: bool, kind: str) -> Scene:
        """A win or loss of its own."""
        fields = {"transaction_id": self._id("settle"), "parent_transaction_id": bet_id, **player.money(net)}
        event = vendors.revosurge(self._at(player.id), player.id, "win" if won else "loss", **fields)
        self._tell(event, wager=kind, currency=player.currency, net=net, won=won)
        yield from ()

    def _address(self) -> str:
        return f"203.0.113.{self._rng.randrange(1, 255)}"
