"""Data and services of `tollgate demo`: a month of history, three services, and a user who overspends."""

from tollgate.demo.history import DAYS, ID_PREFIX, OVERSPENDER, USERS, HistoryEvent, days_before, events_of
from tollgate.demo.offers import OFFERS
from tollgate.demo.outputs import Outputs, Total, clickhouse_total, until
from tollgate.demo.reserving import CLIP, VIDEO, Work, all_at_once, one_after_another, why_denied
from tollgate.demo.screen import Screen, dollars
from tollgate.demo.services import SERVICES, Clips, Crossing, Service, Tally, refused_others

__all__ = [
    "CLIP",
    "DAYS",
    "ID_PREFIX",
    "OFFERS",
    "OVERSPENDER",
    "SERVICES",
    "USERS",
    "VIDEO",
    "Clips",
    "Crossing",
    "HistoryEvent",
    "Outputs",
    "Screen",
    "Service",
    "Tally",
    "Total",
    "Work",
    "all_at_once",
    "clickhouse_total",
    "days_before",
    "dollars",
    "events_of",
    "one_after_another",
    "refused_others",
    "until",
    "why_denied",
]
