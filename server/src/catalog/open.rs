//! Opening a collection: readers that take no lock, and the one writer.
//! A new catalog appears whole under its name or not at all, so one that is empty is damaged, not new.
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

use super::{CatalogError, DataFolder, DataLock};

/// Written out: the macro that reads the folder builds the whole of SQLite a second time, for itself.
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    Migrator::with_migrations(vec![
        migration(1, "collection", include_str!("../../../migrations/0001_collection.sql")),
        migration(2, "precision", include_str!("../../../migrations/0002_precision.sql")),
        migration(3, "background", include_str!("../../../migrations/0003_background.sql")),
    ])
});

fn migration(version: i64, description: &'static str, sql: &'static str) -> Migration {
    let once = MigrationType::Simple;
    Migration::new(version, description.into(), once, sql.into_sql_str(), false)
}

/// A reader waits this long for a lock of SQLite's own; in WAL mode that is next to never.
const BUSY: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

/// Questions to a collection. Cheap to clone; sees every transaction as soon as it is committed.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) pool: SqlitePool,
    pub(super) path: Arc<Path>,
}

/// The one process that changes a collection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The same collection, to ask.
    pub reader: Reader,
    /// Where its files lie.
    pub folder: DataFolder,
    /// One connection: SQLite has one writer, and waiting here is fairer than failing there.
    pub(super) pool: SqlitePool,
    _lock: Arc<DataLock>,
}

impl Reader {
    /// Opens the collection of `folder` without a lock, beside a running writer or alone.
    ///
    /// # Errors
    /// [`CatalogError::Missing`] before the first index; [`CatalogError::Damaged`], [`CatalogError::Older`]
    /// or [`CatalogError::Newer`] where the file cannot be read by this program.
    pub async fn open(folder: &DataFolder) -> Result<Self, CatalogError> {
        let path = folder.catalog();
        if !exists(&path)? {
            return Err(CatalogError::Missing { folder: folder.path().to_owned() });
        }
        refuse_empty(&path)?;
        let reader = Self::connect(&path).await?;
        let applied: Option<i64> = sqlx::query_scalar("select max(version) from _sqlx_migrations")
            .fetch_one(&reader.pool)
            .await
            .map_err(|source| reader.sql("read the version of the catalog", source))?;
        let known = MIGRATIONS.iter().map(|m| m.version).max();
        if applied > known {
            return Err(CatalogError::Newer { path });
        }
        if applied < known {
            return Err(CatalogError::Older { path });
        }
        Ok(reader)
    }

    async fn connect(path: &Path) -> Result<Self, CatalogError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options)
            .await
            .map_err(|source| CatalogError::sql("open the catalog", path, source))?;
        Ok(Self { pool, path: path.into() })
    }

    /// Sorts an error of this catalog.
    pub(super) fn sql(&self, doing: &'static str, source: sqlx::Error) -> CatalogError {
        CatalogError::sql(doing, &self.path, source)
    }

    /// The catalog's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the connections; later questions fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Writer {
    /// Takes the data folder, makes the collection where there is none, and brings it up to date.
    /// `holder` is what a second writer is told.
    ///
    /// # Errors
    /// [`CatalogError::Locked`], [`CatalogError::Damaged`], [`CatalogError::Newer`], or what the
    /// file system refuses.
    pub async fn open(folder: DataFolder, holder: &str) -> Result<Self, CatalogError> {
        folder.create()?;
        let lock = folder.lock(holder)?;
        let path = folder.catalog();
        if exists(&path)? {
            refuse_empty(&path)?;
        } else {
            create(&path).await?;
        }
        let pool = connect_writer(&path).await?;
        migrate(&pool, &path).await?;
        let reader = Reader::connect(&path).await?;
        Ok(Self { reader, folder, pool, _lock: Arc::new(lock) })
    }

    /// Starts a transaction that may read before it writes.
    pub(super) async fn begin(
        &self,
        doing: &'static str,
    ) -> Result<sqlx::Transaction<'static, Sqlite>, CatalogError> {
        // A deferred transaction that reads first fails as soon as somebody else has committed.
        self.pool.begin_with("begin immediate").await.map_err(|e| self.sql(doing, e))
    }

    pub(super) fn sql(&self, doing: &'static str, source: sqlx::Error) -> CatalogError {
        self.reader.sql(doing, source)
    }

    /// Closes the connections and folds the log into the catalog; the lock goes with the last clone.
    pub async fn close(&self) {
        self.reader.close().await;
        self.pool.close().await;
    }
}

/// Builds the catalog under another name and renames it, so that a kill leaves none or a whole one.
async fn create(path: &Path) -> Result<(), CatalogError> {
    let log = with_suffix(path, "-wal");
    if exists(&log)? {
        // SQLite would replay the log of the lost catalog into the new one.
        let source = "its log is there, the catalog is not".into();
        return Err(CatalogError::Damaged { path: path.to_owned(), source });
    }
    let unfinished = with_suffix(path, ".new");
    for suffix in ["", "-wal", "-shm"] {
        let leftover = with_suffix(&unfinished, suffix);
        if exists(&leftover)? {
            std::fs::remove_file(&leftover).map_err(|source| CatalogError::File {
                doing: "remove",
                path: leftover,
                source,
            })?;
        }
    }
    let pool = connect_writer(&unfinished).await?;
    migrate(&pool, &unfinished).await?;
    pool.close().await;
    std::fs::rename(&unfinished, path).map_err(|source| CatalogError::File {
        doing: "create",
        path: path.to_owned(),
        source,
    })
}

async fn connect_writer(path: &Path) -> Result<SqlitePool, CatalogError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged upload survives a power cut, not only a kill.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY);
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .map_err(|source| CatalogError::sql("open the catalog", path, source))
}

async fn migrate(pool: &SqlitePool, path: &Path) -> Result<(), CatalogError> {
    MIGRATIONS.run(pool).await.map_err(|error| match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
            CatalogError::Newer { path: path.to_owned() }
        }
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            CatalogError::sql("bring the catalog up to date", path, source)
        }
        other => CatalogError::Damaged { path: path.to_owned(), source: Box::new(other) },
    })
}

fn exists(path: &Path) -> Result<bool, CatalogError> {
    path.try_exists().map_err(|source| CatalogError::File {
        doing: "look at",
        path: path.to_owned(),
        source,
    })
}

fn refuse_empty(path: &Path) -> Result<(), CatalogError> {
    let file = std::fs::metadata(path).map_err(|source| CatalogError::File {
        doing: "look at",
        path: path.to_owned(),
        source,
    })?;
    if file.len() == 0 {
        let source = "the file is empty".into();
        return Err(CatalogError::Damaged { path: path.to_owned(), source });
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use clip::{Embedding, ModelId};

    use super::super::{ContentHash, NewPicture, Origin};
    use super::*;

    async fn writer(temp: &tempfile::TempDir) -> Writer {
        Writer::open(DataFolder::new(temp.path()), "test").await.unwrap()
    }

    #[test]
    fn every_file_of_the_folder_is_a_migration() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let named = |m: &Migration| format!("{:04}_{}.sql", m.version, m.description);
        assert_eq!(files, MIGRATIONS.iter().map(named).collect::<Vec<_>>());
        for (file, migration) in files.iter().zip(MIGRATIONS.iter()) {
            let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
            assert_eq!(text, migration.sql.as_str(), "{file}");
        }
    }

    #[tokio::test]
    async fn catalog_of_another_version_is_told_from_a_damaged_one() {
        let temp = tempfile::tempdir().unwrap();
        let writer = writer(&temp).await;
        let folder = writer.folder.clone();
        sqlx::query("update _sqlx_migrations set version = version + 1000")
            .execute(&writer.pool)
            .await
            .unwrap();
        let newer = Reader::open(&folder).await.unwrap_err();
        assert!(matches!(newer, CatalogError::Newer { .. }), "{newer}");
        writer.close().await;
        drop(writer);
        let newer = Writer::open(folder.clone(), "test").await.unwrap_err();
        assert!(matches!(newer, CatalogError::Newer { .. }), "{newer}");

        let pool = connect_writer(&folder.catalog()).await.unwrap();
        sqlx::query("delete from _sqlx_migrations").execute(&pool).await.unwrap();
        pool.close().await;
        let older = Reader::open(&folder).await.unwrap_err();
        assert!(matches!(older, CatalogError::Older { .. }), "{older}");
    }

    #[tokio::test]
    async fn catalog_of_the_first_version_is_brought_up_to_date_with_all_it_holds() {
        let temp = tempfile::tempdir().unwrap();
        let writer = writer(&temp).await;
        let model = ModelId("m".to_owned());
        writer.use_model(&model, 2048).await.unwrap();
        writer.add(&model, "fp32", &[picture(1)]).await.unwrap();
        for back in [
            "alter table embeddings drop column precision",
            "drop table backgrounds",
            "delete from _sqlx_migrations where version >= 2",
        ] {
            sqlx::query(back).execute(&writer.pool).await.unwrap();
        }
        writer.close().await;
        drop(writer);
        let older = Reader::open(&DataFolder::new(temp.path())).await.unwrap_err();
        assert!(matches!(older, CatalogError::Older { .. }), "{older}");
        let writer = self::writer(&temp).await;
        let counts = writer.reader.counts().await.unwrap();
        assert_eq!((counts.pictures, counts.embedded), (1, 1));
        // Nobody noted then in which precision it was made.
        assert_eq!(writer.reader.not_embedded(&model, "fp32").await.unwrap().len(), 1);
        writer.add(&model, "fp32", &[picture(1)]).await.unwrap();
        assert_eq!(writer.reader.not_embedded(&model, "fp32").await.unwrap(), []);
    }

    #[tokio::test]
    async fn full_disk_is_named_and_what_was_stored_stays() {
        let temp = tempfile::tempdir().unwrap();
        let writer = writer(&temp).await;
        let model = ModelId("m".to_owned());
        writer.use_model(&model, 2048).await.unwrap();
        sqlx::query("pragma max_page_count = 120").execute(&writer.pool).await.unwrap();
        let mut stored = 0;
        let error = loop {
            match writer.add(&model, "fp32", &[picture(stored), picture(stored + 1)]).await {
                Ok(_) => stored += 2,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, CatalogError::NoRoom { .. }), "{error:?}");
        assert!(stored > 0);
        let counts = writer.reader.counts().await.unwrap();
        assert_eq!((counts.pictures, counts.embedded), (stored, stored));
        sqlx::query("pragma max_page_count = 100000").execute(&writer.pool).await.unwrap();
        writer.add(&model, "fp32", &[picture(stored)]).await.unwrap();
    }

    fn picture(n: u64) -> NewPicture {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_le_bytes());
        NewPicture {
            hash: ContentHash(hash),
            width: 1,
            height: 1,
            format: "png",
            size_bytes: 1,
            origin: Origin::Upload(n.to_string()),
            embedding: Embedding::new(vec![1.0; 2048]).unwrap(),
        }
    }
}
