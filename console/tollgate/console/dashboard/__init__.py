"""The first page's numbers, put together from memory and ClickHouse."""

from tollgate.console.dashboard.building import dashboard

__all__ = ["dashboard"]
