"""The stores: what the product keeps in its database, one class for each concern, written once for all databases.

Who writes what (law 1): `add` and `request_cancel` belong to the API, `update` and the lease to the controller.
"""
