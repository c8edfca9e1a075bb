"""The online store by its old name; use `dualpath.feast.online`."""

from dualpath.feast.online import DualpathRedisOnlineStore, DualpathRedisOnlineStoreConfig

__all__ = ["DualpathRedisOnlineStore", "DualpathRedisOnlineStoreConfig"]
