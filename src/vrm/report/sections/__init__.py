"""The sections of a report; each makes a `Section` of a `View` and a `Drawer`."""
