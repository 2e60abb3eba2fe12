"""A service made with the Python SDK 2.x."""

import sdk_v2
import service

service.run(sdk_v2.connect)
