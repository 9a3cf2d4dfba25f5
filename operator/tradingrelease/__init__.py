"""The TradingRelease operator: blue-green releases of several components at once."""
