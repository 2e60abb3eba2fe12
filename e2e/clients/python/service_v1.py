"""A service made with the Python SDK 1.x."""

import sdk_v1
import service

service.run(sdk_v1.connect)
