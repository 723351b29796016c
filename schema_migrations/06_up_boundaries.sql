-- What hosts say stays their own: the catalogue of images is the operator's. Disks and relay ports are counted when a VM is placed,
-- and a disk that has been used is never made anew.

-- The Hub's own machine; its images go into the catalogue by themselves.
ALTER TABLE hosts ADD COLUMN local boolean NOT NULL DEFAULT FALSE;
-- Size of the file system that VM disks are on; 0 where the Spoke does not say.
ALTER TABLE hosts ADD COLUMN disk_mb bigint NOT NULL DEFAULT 0 CHECK (disk_mb >= 0);
-- How many VMs can be reached there at a time; 0: no limit.
ALTER TABLE hosts ADD COLUMN max_vms integer NOT NULL DEFAULT 0 CHECK (max_vms >= 0);

ALTER TABLE host_images DROP CONSTRAINT host_images_image_fkey;
-- lint: accept validates-all because the table has a row for each image of each host, a few hundred at the most.
ALTER TABLE host_images ADD CONSTRAINT host_images_image_check CHECK (image ~ '^[a-z0-9][a-z0-9.-]{0,62}$');
ALTER TABLE host_images ADD COLUMN title text NOT NULL DEFAULT '' CHECK (length(title) <= 200);
ALTER TABLE host_images ADD COLUMN login_user text NOT NULL DEFAULT 'root' CHECK (login_user ~ '^[a-z_][a-z0-9_-]{0,31}$');
ALTER TABLE host_images ADD COLUMN min_disk_gb integer NOT NULL DEFAULT 0 CHECK (min_disk_gb >= 0);
ALTER TABLE host_images ADD COLUMN min_memory_mb integer NOT NULL DEFAULT 0 CHECK (min_memory_mb >= 0);

-- It was seen running: its disk holds something.
ALTER TABLE vms ADD COLUMN has_run boolean NOT NULL DEFAULT FALSE;
UPDATE vms SET has_run = TRUE
WHERE observed = 'on' OR EXISTS (SELECT FROM usage_spans s WHERE s.vm = vms.id) OR EXISTS (SELECT FROM vm_ssh_host_keys k WHERE k.vm = vms.id);
