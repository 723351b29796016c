ALTER TABLE vms DROP COLUMN has_run;

-- Version 5 knows an image of a host only when it is in the catalogue.
DELETE FROM host_images hi WHERE NOT EXISTS (SELECT FROM images i WHERE i.id = hi.image);
ALTER TABLE host_images DROP COLUMN min_memory_mb;
ALTER TABLE host_images DROP COLUMN min_disk_gb;
ALTER TABLE host_images DROP COLUMN login_user;
ALTER TABLE host_images DROP COLUMN title;
ALTER TABLE host_images DROP CONSTRAINT host_images_image_check;
ALTER TABLE host_images ADD CONSTRAINT host_images_image_fkey FOREIGN KEY (image) REFERENCES images (id);

ALTER TABLE hosts DROP COLUMN max_vms;
ALTER TABLE hosts DROP COLUMN disk_mb;
ALTER TABLE hosts DROP COLUMN local;
