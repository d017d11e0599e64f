pager_fuzz(handshake pager_uffd)
pager_fuzz(journal pager_uffd)
pager_fuzz(overlayfile pager_uffd)
