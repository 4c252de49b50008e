"""The supervisor of asrd: one asyncio process that owns pools of mortal workers. It knows no model and no media."""
