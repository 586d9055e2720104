"""The HTTP API over the operational store: what people and programs do with proposals, orders and codes.

Belongs here: routes, request and response models, and how failures look on the wire. Does not belong here: rules (each
route calls one function of `operations`), nor serving (orchestration runs the application it makes).
"""

from operations.api.app import Explainer, create_app

__all__ = ["Explainer", "create_app"]
