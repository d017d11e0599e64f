pager_fuzz(overlays pager_control)
pager_fuzz(base64 pager_base)
